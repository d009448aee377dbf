"""Tar files whose every byte but the members' contents is known beforehand.

The names, order and sizes of an archive's members follow from its manifests
(``engine/archive/manifest.py``). So a reader makes the header that is due and compares it. Nothing
in a header is believed: no path, link, owner, device or sparse map of an archive has any effect.
``tar`` can list an archive all the same.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from vecdb.errors import CorruptionError
from vecdb.storage import fs, lookup

Data = bytes | memoryview
Progress = Callable[[int], None]
"""Called with how many bytes of an archive have gone by so far."""

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_NAME = 100  # bytes of a name that fit the header; a longer name stands before it, as in GNU tar
_OCTAL_LIMIT = 8**11
_HEADER = struct.Struct("<100s8s8s8s12s12s8sc100s8s32s32s8s8s167x")


def no_progress(size: int) -> None:
    """Nobody is watching."""


def member_header(name: str, size: int) -> bytes:
    """The header of a regular file of this size, mode 0600, owner 0, time 0."""
    data = name.encode("ascii")
    if len(data) <= _NAME:
        return _header(data, size, b"0")
    long_name = data + b"\0"
    link = _header(b"././@LongLink", len(long_name), b"L")
    return link + long_name + _fill(len(long_name)) + _header(data[:_NAME], size, b"0")


def _header(name: bytes, size: int, kind: bytes) -> bytes:
    length = b"%011o\0" % size if size < _OCTAL_LIMIT else b"\x80" + size.to_bytes(11, "big")
    zero, time = b"0000000\0", b"00000000000\0"

    def pack(check: bytes) -> bytes:
        return _HEADER.pack(
            name, b"0000600\0", zero, zero, length, time, check, kind, b"", b"ustar  \0", b"", b"",
            b"", b"",
        )  # fmt: skip

    return pack(b"%06o\0 " % sum(pack(b" " * 8)))


def _fill(size: int) -> bytes:
    """The zeros after a member of this size."""
    return bytes(-size % _BLOCK)


def member_size(name: str, size: int) -> int:
    """How many bytes of an archive a member takes."""
    return len(member_header(name, size)) + size + len(_fill(size))


class TarWriter:
    """A new archive, written front to back; its SHA-256 is made as the bytes go by."""

    def __init__(self, path: Path, progress: Progress = no_progress) -> None:
        import hashlib  # it loads OpenSSL, which only archives have a use for

        self._file = fs.AppendFile(path)
        self._progress = progress
        self._hash = hashlib.sha256()
        self._left = 0  # of the member being written
        self._after = b""

    def begin(self, name: str, size: int) -> None:
        """The next member. ``append`` its content then."""
        assert self._left == 0, "the member before is not complete"
        self._put([member_header(name, size)])
        self._left, self._after = size, _fill(size)
        self._end_member()

    def append(self, buffers: Sequence[Data]) -> None:
        """More of the member's content."""
        self._left -= sum(len(buffer) for buffer in buffers)
        assert self._left >= 0, "more than the header said"
        self._put(buffers)
        self._end_member()

    def _end_member(self) -> None:
        if self._left == 0 and self._after:
            self._put([self._after])
            self._after = b""

    def _put(self, buffers: Sequence[Data]) -> None:
        for buffer in buffers:
            self._hash.update(buffer)
        self._file.append(buffers)
        self._progress(self._file.length)

    def finish(self) -> str:
        """Write the end, and make the content durable. Returns the file's SHA-256."""
        assert self._left == 0, "the last member is not complete"
        self._put([_END])
        self._file.sync()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file; harmless when closed already."""
        self._file.close()


class TarReader:
    """An archive that may come from anybody, read front to back. Raises CorruptionError."""

    def __init__(
        self, path: Path, *, hashing: bool = False, progress: Progress = no_progress
    ) -> None:
        """``hashing``: ``sha256`` will be read, so nothing may be skipped."""
        self.path = path
        self._progress = progress
        self._at = 0
        import hashlib

        self._hash = hashlib.sha256() if hashing else None
        if not stat.S_ISREG(lookup.status(path).st_mode):  # to open a pipe waits for its writer
            raise CorruptionError(path, "is not a file")
        self._file = lookup.open_read(path, buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> TarReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; harmless when closed already."""
        self._file.close()

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, all of them."""
        if size > self.size - self._at:  # before memory is asked for
            raise CorruptionError(self.path, f"ends at byte {self.size}")
        pieces = []
        while size:
            piece = self._file.read(size)
            if not piece:
                raise CorruptionError(self.path, f"ends at byte {self._at}")
            pieces.append(piece)
            size -= len(piece)
            self._at += len(piece)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self._hash is not None:
            self._hash.update(data)
        self._progress(self._at)
        return data

    def begin(self, name: str, size: int) -> None:
        """The next member must be this one."""
        self._require(member_header(name, size), name)

    def begin_any_size(self, name: str, limit: int) -> int:
        """Read the header of the next member, which must have this name and at most ``limit``
        bytes. Returns how many it has."""
        start = self._at
        header = self.read(_BLOCK)
        match = re.fullmatch(rb"([0-7]{11})\0", header[124:136])
        size = int(match[1], 8) if match else -1
        if not 0 <= size <= limit or header != member_header(name, size):
            raise CorruptionError(self.path, f"has no member {name!r} at byte {start}")
        return size

    def end(self, size: int) -> None:
        """What follows a member of ``size`` bytes."""
        if any(self.read(-size % _BLOCK)):
            raise CorruptionError(self.path, f"has no zeros before byte {self._at}")

    def skip(self, name: str, size: int) -> None:
        """Pass over a member."""
        self.begin(name, size)
        size += -size % _BLOCK
        if self._hash is None:
            if size > self.size - self._at:
                raise CorruptionError(self.path, f"ends at byte {self.size}")
            self._at = self._file.seek(self._at + size)
            return
        while size:
            size -= len(self.read(min(size, 1 << 20)))

    def require_left(self, size: int, *, last: bool) -> None:
        """Require that members of this size follow, and nothing else if they are the ``last``."""
        left = self.size - self._at - len(_END)
        if left < size or (last and left > size):
            what = "is cut short" if left < size else "goes on beyond its end"
            raise CorruptionError(self.path, f"{what}: {self.size} bytes")

    def at_end(self) -> bool:
        """Whether no member follows. Then nothing else may follow."""
        if self.size - self._at != len(_END):
            return False
        self._require(_END, "end")
        return True

    def sha256(self) -> str:
        """The SHA-256 of all that was read."""
        assert self._hash is not None
        return self._hash.hexdigest()

    def _require(self, due: bytes, what: str) -> None:
        start = self._at
        if self.read(len(due)) != due:
            raise CorruptionError(self.path, f"has no member {what!r} at byte {start}")
