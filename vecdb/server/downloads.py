"""Downloads: a file as the body of an answer, or a part of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import BinaryIO

from msgspec import Struct

from vecdb.server.answers import Download
from vecdb.server.status import NOT_FOUND, Refusal

_PIECE = 1 << 20
_RANGE = re.compile(rb"bytes=([0-9]{0,20})-([0-9]{0,20})")

Header = tuple[bytes, bytes]


class Sending(Struct):
    """What of a file is sent."""

    file: BinaryIO
    status: int
    headers: list[Header]
    start: int
    length: int

    async def pieces(self) -> AsyncIterator[bytes]:
        """Its bytes. Who asks for them closes the file."""
        left = self.length
        await asyncio.to_thread(self.file.seek, self.start)
        while left:
            piece = await asyncio.to_thread(self.file.read, min(_PIECE, left))
            if not piece:
                raise OSError(f"{left} bytes of a file are missing")
            left -= len(piece)
            yield piece


async def begin(download: Download, wanted: bytes | None) -> Sending:
    """Open a file to send it. ``wanted``: the header ``Range``. Raises Refusal."""
    try:
        file = await asyncio.to_thread(open, download.path, "rb")
    except FileNotFoundError:  # removed this moment
        raise Refusal(NOT_FOUND, f"Not found: Snapshot {download.name} not found") from None
    size = file.seek(0, 2)
    name = download.name.replace("\\", "_").replace('"', "_").encode("ascii", "replace")
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-disposition", b'attachment; filename="' + name + b'"'),
        (b"accept-ranges", b"bytes"),
    ]
    if download.checksum is not None:
        headers.append((b"etag", f'"{download.checksum}"'.encode()))
    found = None if wanted is None else _RANGE.fullmatch(wanted)
    if found is None or not (found[1] or found[2]):
        return _sending(file, 200, headers, 0, size)
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
    else:  # so many from the end
        first, last = max(0, size - int(found[2])), size - 1
    if first > last:
        return _sending(file, 416, [*headers, _range(f"*/{size}")], 0, 0)
    headers.append(_range(f"{first}-{last}/{size}"))
    return _sending(file, 206, headers, first, last - first + 1)


def _sending(
    file: BinaryIO, status: int, headers: list[Header], start: int, length: int
) -> Sending:
    headers.append((b"content-length", str(length).encode()))
    return Sending(file, status, headers, start, length)


def _range(text: str) -> Header:
    return b"content-range", f"bytes {text}".encode()
