"""The snapshots of a database: archives in a directory, with names, checksums and a list.

A snapshot is there when its ``.snapshot`` file is, which is renamed into place when it is whole
and durable. Beside it stands its SHA-256, in the format of ``sha256sum``.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vecdb.engine.archive.capture import write_archive
from vecdb.engine.open import places
from vecdb.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    StorageFullError,
)
from vecdb.models import SnapshotDescription
from vecdb.storage import fs, layout, lookup
from vecdb.storage.place import Place, entered
from vecdb.storage.tar import Progress, no_progress

_naming = threading.Lock()  # between looking which names there are and making one


def take(
    database: Place, directory: Path, prefix: str, collections: Sequence[Path], *, whole: bool
) -> SnapshotDescription:
    """Write a snapshot of collections into a directory of the database, which is made if it is not
    there. Its name is one that none in the directory has. Inside of ``database``.

    Raises CorruptionError, StorageFullError, OSError, and nothing is left behind. Raises
    PlaceTakenError: it is whole, in a directory that was moved meanwhile.
    """
    with fs.raising_storage_full(directory):
        for needed in (directory.parent, directory):
            if needed == database.path:
                continue
            with suppress(FileExistsError):
                fs.make_dir(needed)
            fs.sync_dir(needed.parent)  # who made it may have failed here, or not be here yet

    def name() -> Path:
        taken = [layout.parse_snapshot_file(name) or 0 for name in lookup.names(directory)]
        number = max(taken, default=0) + 1
        return directory / layout.snapshot_file(prefix, number, datetime.now(timezone.utc))

    with Place(directory, database) as place:
        found = _write(directory, name, collections, whole, no_progress)
        place.require()
    return found


def take_as(
    path: Path, collections: Sequence[Path], *, whole: bool, progress: Progress
) -> SnapshotDescription:
    """Write a snapshot of collections under a name that is given. Raises AlreadyExistsError, and
    as ``take``."""

    def name() -> Path:
        for taken in (path, _beside(path)):
            if lookup.exists(taken):
                raise AlreadyExistsError(f"{taken} exists; give the name of a new file")
        return path

    name()
    with entered(path.parent):
        return _write(path.parent, name, collections, whole, progress)


def _write(
    directory: Path,
    name: Callable[[], Path],
    collections: Sequence[Path],
    whole: bool,
    progress: Progress,
) -> SnapshotDescription:
    temporary = directory / layout.new_dir()
    require_space(directory, size_of(collections))  # the database may need what would be left
    try:
        with fs.raising_storage_full(directory):
            digest = write_archive(temporary, collections, whole=whole, progress=progress)
            with _naming:
                path = name()
                _publish(temporary, path, digest)
    except BaseException:
        fs.remove_file(temporary)
        raise
    return describe(path)


def _publish(temporary: Path, path: Path, digest: str) -> None:
    """Give a whole and durable archive its name, and its checksum beside it."""
    beside = _beside(path)
    unnamed = path.with_name(layout.new_dir())
    try:
        fs.write_file(unnamed, f"{digest}  {path.name}\n".encode())
        fs.rename(unnamed, beside)  # first: one without its archive is in nobody's way
        fs.rename(temporary, path)
        fs.sync_dir(path.parent)
    except BaseException:
        for name in (unnamed, path, beside):
            fs.remove_file(name)
        raise


def _beside(path: Path) -> Path:
    return path.with_name(path.name + layout.SHA256)


def describe(path: Path) -> SnapshotDescription:
    """Name, time, size and SHA-256 of a snapshot. Raises FileNotFoundError."""
    found = lookup.status(path)
    moment = datetime.fromtimestamp(found.st_mtime, timezone.utc)
    return SnapshotDescription(
        path.name, f"{moment:%Y-%m-%dT%H:%M:%S}", found.st_size, checksum_beside(path)
    )


def checksum_beside(path: Path) -> str | None:
    """The SHA-256 that stands beside an archive, whose name may have any letters; None if there is
    none."""
    try:
        with lookup.open_read(_beside(path)) as file:
            data = file.read()
    except FileNotFoundError:
        return None
    match = re.match(rb"[0-9a-f]{64}(?= )", data)
    return match[0].decode() if match else None


def listed(directory: Path) -> list[SnapshotDescription]:
    """The snapshots in a directory, oldest first."""
    try:
        names = lookup.names(directory)
    except FileNotFoundError:
        return []
    found = []
    for name in sorted(names, key=lambda name: (layout.parse_snapshot_file(name) or 0, name)):
        if layout.parse_snapshot_file(name) is not None and lookup.is_file(directory / name):
            try:
                found.append(describe(directory / name))
            except FileNotFoundError:  # removed this moment
                pass
    return found


def remove(directory: Path, name: str) -> bool:
    """Remove a snapshot; False if there is none of that name. Raises InvalidInputError."""
    path = directory / check_snapshot_name(name)
    if not lookup.is_file(path):  # also of names that no file can have
        return False
    fs.remove_file(path)
    fs.remove_file(_beside(path))
    fs.sync_dir(directory)
    return True


def find(directory: Path, name: str) -> Path:
    """The file of a snapshot in a directory. Raises NotFoundError, InvalidInputError."""
    path = directory / check_snapshot_name(name)
    if not lookup.is_file(path):
        raise NotFoundError(f"there is no snapshot {name!r}")
    return path


@contextmanager
def received(database: Place, directory: Path, data: Iterable[bytes]) -> Iterator[Path]:
    """Bytes that come from somewhere as a file, for the length of the block. What a crash leaves of
    it, ``clean`` removes. Inside of ``database``. Raises StorageFullError, and as ``data``."""
    path = directory / layout.new_dir()
    try:
        with fs.raising_storage_full(directory):
            with suppress(FileExistsError):
                fs.make_dir(directory)
            file = fs.AppendFile(path)
        try:
            for piece in data:
                with fs.raising_storage_full(directory):
                    file.append([piece])
        finally:
            file.close()
        yield path
    finally:
        fs.remove_file(path)


def locate(location: object, directories: Iterable[Path]) -> Path:
    """The file that a path, a ``file://`` URI, or a name in one of the directories means. Raises
    InvalidInputError."""
    try:
        text = os.fspath(location)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidInputError(f"location: expected a path or URI, got {location!r:.80}")
    parts = urlsplit(text) if "://" in text else None
    if parts is not None and (parts.scheme != "file" or parts.netloc not in ("", "localhost")):
        raise InvalidInputError(f"location: expected a path or a file:// URI, got {text!r:.80}")
    if parts is not None:
        return Path(unquote(parts.path))
    if layout.parse_snapshot_file(text) is not None:
        for directory in directories:
            if lookup.is_file(directory / text):
                return directory / text
    return Path(text).absolute()


def check_snapshot_name(name: object) -> str:
    """The name of a file, never a path. Raises InvalidInputError."""
    if not isinstance(name, str) or layout.parse_snapshot_file(name) is None:
        raise InvalidInputError(
            f"snapshot_name: expected a name as list_snapshots gives them, got {name!r:.80}"
        )
    return name


def clean(directory: Path) -> None:
    """Remove what a crash left of unfinished snapshots. Nobody may be taking one."""
    if not lookup.is_dir(directory):
        return
    _clean(directory)
    for entry in lookup.entries(directory):
        if lookup.is_dir(entry):
            with suppress(PermissionError):  # lost+found, where a disk is mounted here
                _clean(entry)


def _clean(directory: Path) -> None:
    fs.sync_dir(directory)  # names in it that a killed process made
    for entry in lookup.entries(directory):
        if layout.is_leftover(entry.name) and lookup.is_file(entry):
            fs.discard(entry)


def require_space(directory: Path, size: int) -> None:
    """Raise StorageFullError unless a file system has room for this many bytes."""
    found = os.statvfs(lookup.real_path(directory))
    free = found.f_bavail * found.f_frsize
    if size > free:
        raise StorageFullError(errno.ENOSPC, f"{directory}: {size} bytes needed, {free} are free")


def size_of(collections: Iterable[Path]) -> int:
    """About how large an archive of them will be."""
    size = 0
    for collection in map(places.current_dir, collections):
        for directory, _, files in os.walk(lookup.real_path(collection)):
            for name in files:
                try:
                    size += os.stat(os.path.join(directory, name)).st_size
                except FileNotFoundError:  # retired this moment
                    pass
    return size
