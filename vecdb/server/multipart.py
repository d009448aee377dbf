"""Multipart: the file in a form, as it comes in."""

from __future__ import annotations

from collections.abc import AsyncIterator

from python_multipart.multipart import MultipartParser, parse_options_header

from vecdb.server.status import WRONG, Refusal


async def file_of(
    stream: AsyncIterator[bytes], content_type: bytes, field: str
) -> AsyncIterator[bytes]:
    """The bytes of one field of a form; what else is in it is skipped. Raises Refusal."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Refusal(WRONG, "Bad request: expected multipart/form-data")
    form = _Form(field.encode(), boundary)
    async for chunk in stream:
        for piece in form.take(chunk):
            yield piece
    if not form.seen or not form.complete:
        raise Refusal(WRONG, f"Bad request: the form has no whole field `{field}`")


class _Form:
    """A form that is read piece by piece."""

    def __init__(self, field: bytes, boundary: bytes) -> None:
        self.seen = self.complete = False
        self._field = field
        self._is_field = False
        self._name, self._value = b"", b""
        self._pieces: list[bytes] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_part_data": self._data,
                "on_end": self._ends,
            },
        )

    def take(self, chunk: bytes) -> list[bytes]:
        """What of the field is in the next bytes of the form."""
        try:
            self._parser.write(chunk)
        except ValueError as error:  # the parser's own error is one
            raise Refusal(WRONG, f"Bad request: not a valid form: {error}") from None
        pieces, self._pieces = self._pieces, []
        return pieces

    def _part_begins(self) -> None:
        self._is_field = False
        self._name = self._value = b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            if options.get(b"name") == self._field and not self.seen:
                self.seen = self._is_field = True
        self._name = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_field:
            self._pieces.append(data[start:end])

    def _ends(self) -> None:
        self.complete = True
