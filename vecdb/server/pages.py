"""Pages: files of web interfaces, vecdb's own at ``/ui``, another one at ``/dashboard``."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from msgspec import Struct

from vecdb.server.answers import Redirect
from vecdb.server.settings import Settings
from vecdb.server.status import NOT_FOUND, Refusal

Headers = list[tuple[bytes, bytes]]

# No other page may show one of ours in a frame: a click there would be meant for something else.
_UNFRAMED = (b"x-frame-options", b"DENY")
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
        "require-trusted-types-for 'script'",  # no text becomes a part of the page but as text
        "trusted-types 'none'",
    )
)
_OWN = (
    _UNFRAMED,
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-cache"),  # the files of two versions do not fit together
)


class Page(Struct):
    """A file for a browser, and the headers of its answer."""

    content: bytes
    headers: Headers


class Pages:
    """The files in a directory, and in no other, under a prefix of paths."""

    def __init__(self, prefix: str, directory: Path, headers: Sequence[tuple[bytes, bytes]]):
        self._prefix = prefix
        self._directory = directory.resolve()
        self._headers = headers

    def has(self, path: str) -> bool:
        """Whether a path, as it came, is one of theirs."""
        return path.startswith(self._prefix) and path[len(self._prefix) :][:1] in ("", "/")

    async def find(self, path: str) -> Page | Redirect:
        """The file of a path of theirs; of a directory its ``index.html``. Raises Refusal."""
        if path == self._prefix:  # what the page names is beside it only if its path ends in a "/"
            return Redirect(f"{self._prefix[1:]}/")
        return await asyncio.to_thread(self._read, unquote(path[len(self._prefix) :]).lstrip("/"))

    def _read(self, name: str) -> Page:
        try:
            file = (self._directory / name).resolve()  # also where links lead
            if file.is_dir():
                file = file / "index.html"
            if self._directory not in file.parents:
                raise Refusal(NOT_FOUND, "")
            content = file.read_bytes()
        except (OSError, ValueError):  # there is none, or a name that no file can have
            raise Refusal(NOT_FOUND, "") from None
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return Page(content, [(b"content-type", kind.encode()), *self._headers])


def pages_of(settings: Settings) -> list[Pages]:
    """All pages of a server."""
    pages = [Pages("/ui", Path(__file__).parent / "ui", _OWN)]
    if settings.static_dir is not None:
        pages.append(Pages("/dashboard", settings.static_dir, (_UNFRAMED,)))
    return pages


def is_visit(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request comes from a browser that wants a page to show, and not from a program."""
    accepted = headers.get(b"accept", b"")
    return headers.get(b"sec-fetch-mode") == b"navigate" and b"text/html" in accepted
