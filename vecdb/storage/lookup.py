"""What is there: files and directories looked at, and nothing changed.

If the thread has entered a place (``place.py``), a path below it is a name in the directory that
was opened, as in ``fs``, which changes files.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from vecdb.storage.place import MISSING, Identity, at, close_descriptor, located, open_at, path_of

_DESCRIPTORS = Path("/proc/self/fd")  # Linux: the directory of one, by its number


def open_read(path: Path, *, buffering: int = -1) -> BinaryIO:
    """An existing file, open for reading."""
    return open(path, "rb", buffering=buffering, opener=open_at)


def status(path: Path, *, links: bool = False) -> os.stat_result:
    """The result of ``os.stat``; with ``links``, of a link itself and not of its target."""
    with at(path) as (name, within):
        return os.stat(name, dir_fd=within, follow_symlinks=not links)


def identity(path: Path) -> Identity:
    """Device and inode, which tell a file from another one in its place while both are there."""
    stat = status(path)
    return stat.st_dev, stat.st_ino


def names(path: Path) -> list[str]:
    """What is in a directory."""
    if located(path)[1] is None:
        return os.listdir(path)
    fd = open_at(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return os.listdir(fd)
    finally:
        close_descriptor(fd)


def entries(path: Path) -> list[Path]:
    """The paths of what is in a directory, sorted."""
    return [path / name for name in sorted(names(path))]


def exists(path: Path) -> bool:
    """Whether something has this name, if only a link to nowhere. Raises OSError, as ``is_dir`` and
    ``is_file`` do, if it cannot be told: what is there must not be taken for gone."""
    return _mode(path, links=True) is not None


def is_dir(path: Path) -> bool:
    """Whether it is a directory, or a link to one."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def is_file(path: Path) -> bool:
    """Whether it is a file, or a link to one."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def _mode(path: Path, *, links: bool = False) -> int | None:
    """The status of a path; None: there is nothing of that name, nor can there be."""
    try:
        return status(path, links=links).st_mode
    except OSError as error:
        if error.errno not in (*MISSING, errno.ENAMETOOLONG):
            raise
    except ValueError:  # a byte that no name can have
        pass
    return None


def real_path(path: Path) -> Path:
    """A path for a library that takes no descriptor (LMDB). In an entered place it leads there as
    long as the place is entered, whatever stands at ``path``. Raises OSError if there is none."""
    name, within = located(path)
    if within is None:
        return path
    if _DESCRIPTORS.is_dir():
        return _DESCRIPTORS / str(within) / name
    there = path_of(within)  # pragma: no cover - macOS
    if there is None:
        raise OSError(errno.ESTALE, "was removed, or moved to where it cannot be found", str(path))
    return there / name


def free_bytes(path: Path) -> int | None:
    """Bytes that may still be written there; None if nobody can tell, as for a directory that is
    gone."""
    try:
        filesystem = os.statvfs(real_path(path))
    except OSError:
        return None
    return filesystem.f_bavail * filesystem.f_frsize
