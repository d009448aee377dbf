"""The catalog's file, looked at before LMDB sees it.

LMDB trusts its file. A wrong number in a page, or a file shorter than its pages, can kill the
process, make it read what is not there, or spoil the next commit. So all pages of the newest state
are walked first, as bytes: each must be in its place, and either in use or free.
"""

from __future__ import annotations

import stat
from pathlib import Path

import lmdb.verify
from msgspec import Struct

from vecdb.errors import CorruptionError
from vecdb.storage import fs, lookup

LOCK = "lock.mdb"  # the name LMDB gives its lock file
_MAGIC = 0xBEEFC0DE
_META_SIZE = 152
_PAGE_SIZES = [512 << n for n in range(8)]
_FLAGS = b"\x08\0\x08\0" + bytes(6)  # a meta page; integer keys; neither padding nor flags


class Meta(Struct, frozen=True):
    """The meta page of one transaction. LMDB writes the two of them in turns."""

    at: int
    page_size: int
    transaction: int
    data: bytes

    @property
    def flags(self) -> bytes:
        """The flags of the page, of the tree of free pages, and of the tree of our rows."""
        return self.data[10:12] + self.data[44:46] + self.data[88:94]

    def same_in(self, head: bytes) -> bool:
        """Whether ``head`` has the same bytes there."""
        return head[self.at : self.at + len(self.data)] == self.data


def newest_meta(head: bytes, path: Path) -> Meta:
    """LMDB 0.9's meta page (``MDB_meta`` in mdb.c) with the larger transaction number."""
    metas = []
    if len(head) >= _META_SIZE:
        page_size = int.from_bytes(head[40:44], "little")
        for at in (0, page_size) if page_size in _PAGE_SIZES else ():
            data = head[at : at + _META_SIZE]
            if len(data) == _META_SIZE and int.from_bytes(data[16:20], "little") == _MAGIC:
                metas.append(Meta(at, page_size, int.from_bytes(data[144:152], "little"), data))
    newest = max(metas, key=lambda meta: meta.transaction, default=None)
    if newest is None or len(metas) != 2 or newest.flags != _FLAGS:
        raise CorruptionError(path, "is not a catalog (wrong magic or flags)")
    return newest


def require_lock_file(path: Path) -> None:
    """Raise CorruptionError if something else stands in the place of LMDB's lock file."""
    lock = path / LOCK
    if lookup.exists(lock) and not stat.S_ISREG(lookup.status(lock, links=True).st_mode):
        raise CorruptionError(lock, "is not a file")


def require_length(path: Path) -> None:
    """Raise CorruptionError if the file is missing or has not even two pages."""
    with fs.must_exist(path):
        length = lookup.status(path).st_size
    if length < 8192:
        raise CorruptionError(path, f"{length} bytes, too short for a catalog")


def require_sound(path: Path) -> None:
    """Raise CorruptionError unless LMDB can be trusted with the file."""
    require_length(path)
    with lookup.open_read(path) as file:
        newest_meta(file.read(2 << 16), path)
    # The file may end before the last page that the meta page knows: free pages at the end need
    # never have been written. Every page in use must be there.
    try:
        problems = lmdb.verify.verify(str(lookup.real_path(path)), False)  # type: ignore[no-untyped-call]
    except lmdb.verify.VerifyError as error:
        problems = [str(error)]
    if problems:
        raise CorruptionError(path, problems[0])
