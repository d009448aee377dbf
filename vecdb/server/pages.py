"""Pages: the files of a web interface, such as Qdrant's, under ``/dashboard``."""

from __future__ import annotations

import asyncio
import mimetypes
from pathlib import Path
from urllib.parse import unquote

from msgspec import Struct

from vecdb.server.status import NOT_FOUND, Refusal

PREFIX = "/dashboard"


class Page(Struct):
    """A file for a browser."""

    content: bytes
    content_type: str

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of its answer. No other page may show this one in a frame: a click there would be meant
        for something else."""
        return [(b"content-type", self.content_type.encode()), (b"x-frame-options", b"DENY")]


class Pages:
    """The files in a directory, and in no other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()

    async def find(self, path: str) -> Page:
        """The file of a path below the prefix, as it came; of a directory its ``index.html``.
        Raises Refusal."""
        return await asyncio.to_thread(self._read, unquote(path[len(PREFIX) :]).lstrip("/"))

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
        return Page(content, kind)
