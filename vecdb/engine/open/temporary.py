"""Temporary databases: where they are made, and what is left of those whose process was killed.

Nobody else removes these: memory that a killed process has taken in ``/dev/shm`` is gone until the
machine is started anew. So whoever makes one looks for others beside it. One goes if it has a mark
that only temporary ones have, is ours, names a process that is not there any more, and nobody has
it locked: a process of another container may have the same number.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from vecdb.errors import LockedError
from vecdb.storage import fs, layout, lookup

_HOLDER = re.compile(rb"pid ([0-9]+) on ")


def make() -> Path:
    """Create the directory of a temporary database, and remove others that are left over."""
    path = fs.make_temporary_dir()
    fs.write_file(path / layout.TEMPORARY, b"")
    for other in path.parent.glob(f"{fs.TEMPORARY_PREFIX}*"):
        with suppress(OSError, LockedError):  # another process may be at it, too
            if other != path and _is_left_over(other):
                _remove(other)
    return path


def _is_left_over(path: Path) -> bool:
    """Whether a directory is that of a temporary database whose process is gone. Raises OSError."""
    if path.is_symlink() or path.stat().st_uid != os.geteuid():
        return False
    if not (path / layout.TEMPORARY).is_file():
        return False
    # One that is just being made has no lock file, or an empty one, and must not be locked here.
    holder = _HOLDER.match((path / layout.LOCK).read_bytes())
    if holder is None:
        return False
    try:
        os.kill(int(holder[1]), 0)
    except ProcessLookupError:
        return True
    return False


def _remove(path: Path) -> None:
    """Remove it, the mark last: what is cut short goes on another time. Raises OSError, LockedError
    if somebody has it."""
    lock = fs.FileLock(path / layout.LOCK, str(path), reading=True)
    try:
        if lock.is_at(path / layout.LOCK):
            last = (layout.LOCK, layout.TEMPORARY)
            for entry in lookup.entries(path):
                if entry.name not in last:
                    fs.remove_tree(entry)
            for name in last:
                fs.discard(path / name)
            fs.remove_empty_dir(path)
    finally:
        lock.release()
