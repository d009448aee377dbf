"""The database's own directory: telling it from other people's, and making a new one."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from vecdb.engine.open import places
from vecdb.errors import CorruptionError, InvalidInputError, NotADatabaseError
from vecdb.storage import fs, layout, lookup
from vecdb.storage.place import Place

MAX_NAME_BYTES = 255


def check_name(name: object, what: str = "collection_name") -> str:
    """Check the name of a collection or an alias: any text is legal, and is escaped on disk.
    Raises InvalidInputError."""
    if not isinstance(name, str):
        raise InvalidInputError(f"{what}: expected a string, got {type(name).__name__}")
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidInputError(f"{what} {name!r}: not valid Unicode") from None
    if not 1 <= size <= MAX_NAME_BYTES:
        raise InvalidInputError(
            f"{what}: expected 1 to {MAX_NAME_BYTES} bytes of UTF-8, got {size}"
        )
    return name


def parse_path(path: object) -> Path | None:
    """The directory meant; None for ``":memory:"``. Raises InvalidInputError."""
    try:
        text = os.fspath(path)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidInputError(
            f"path: expected the name of a directory or ':memory:', got {path!r:.60}"
        )
    return None if text == ":memory:" else Path(text).absolute()


def prepare(path: Path) -> None:
    """Make the directory with its parents, or check that what is there is a database or empty.
    Raises NotADatabaseError, having changed nothing."""
    if not path.exists():
        _make_dirs(path)
    if not path.is_dir():
        raise NotADatabaseError(f"{path} is a file; a database is a directory")
    if (path / layout.FORMAT).exists():
        require_format_file(path)
        return
    strangers = sorted(entry.name for entry in path.iterdir() if not _is_unfinished(entry))
    if strangers:
        raise NotADatabaseError(
            f"{path} holds {', '.join(strangers[:3])} and no vecdb database; "
            f"give a new or an empty directory"
        )
    # Before there is anything in it. Those that were there, too: they may have been made by a
    # process that was killed before it got here.
    for parent in reversed(path.parents):
        sync_names(parent)


def _make_dirs(path: Path) -> None:
    """Make a directory and the parents that are missing. Raises NotADatabaseError."""
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    first = missing[-1]
    if not first.parent.is_dir():
        raise NotADatabaseError(f"{path}: {first.parent} is a file, not a directory")
    if first.name.startswith("~"):
        raise NotADatabaseError(
            f"{path}: the directory {first} does not exist; os.path.expanduser makes ~ the home "
            f"directory"
        )
    for directory in reversed(missing):
        with suppress(FileExistsError):  # somebody else was faster
            fs.make_dir(directory)


def sync_names(directory: Path) -> None:
    """Make the names in a directory durable, as far as it is ours: it may be one that we cannot
    read, or of a kind that is not synced."""
    try:
        fs.sync_dir(directory)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise


def require_database(path: Path) -> None:
    """Raise unless there is a database, in a format that can be read. Changes nothing.

    Raises NotADatabaseError, CorruptionError, FormatVersionError.
    """
    require_format_file(path)
    places.read_format(path)
    if not lookup.is_dir(path / layout.COLLECTIONS):
        raise CorruptionError(path / layout.COLLECTIONS, "the directory is missing")


def require_format_file(path: Path) -> None:
    """Raise NotADatabaseError, which says what is there instead, unless there is the FORMAT of a
    database, damaged or not."""
    has_format = lookup.is_file(path / layout.FORMAT)
    if lookup.is_dir(path / layout.CATALOG):
        why = f"it is a collection; the database should be {path.parent.parent}"
    elif has_format:
        return
    elif not path.exists():
        why = "there is nothing of that name"
    elif not path.is_dir():
        why = "it is a file, not a directory"
    elif (path / layout.COLLECTIONS).is_dir():
        why = (
            f"its {layout.FORMAT} file is missing; `vecdb repair` saves the collections that are "
            f"in it"
        )
    else:
        why = f"it has no {layout.FORMAT} file"
    raise NotADatabaseError(f"{path} is not a vecdb database: {why}")


def lock_to_read(path: Path) -> fs.FileLock | None:
    """Keep others from writing to a database that is only read here. None if there is no lock file:
    whoever writes to a database makes one. Changes nothing. Raises LockedError, CorruptionError,
    OSError."""
    if not os.path.lexists(path / layout.LOCK):
        return None
    return fs.FileLock(path / layout.LOCK, f"database {path}", reading=True)


def _is_unfinished(entry: Path) -> bool:
    """Whether a crash in ``initialize`` may have left this."""
    if entry.name == layout.COLLECTIONS:
        return entry.is_dir() and not any(entry.iterdir())
    return entry.name == layout.LOCK or layout.is_leftover(entry.name)


def hold(path: Path) -> tuple[Place, fs.FileLock]:
    """Hold a database's directory open and lock it. Raises LockedError. Raises PlaceTakenError if
    it was moved or removed meanwhile: then the lock is not the one that others see."""
    place = Place(path)
    try:
        with place:
            lock = fs.FileLock(path / layout.LOCK, f"database {path}")
        try:
            place.mark = lock.as_mark(layout.LOCK)
            place.require()
        except BaseException:
            lock.release()
            raise
    except BaseException:
        place.close()
        raise
    return place, lock


def initialize(path: Path) -> None:
    """Make what a database needs, if it is not there. FORMAT comes last: it makes it a database.
    Under the file lock. Raises CorruptionError, FormatVersionError."""
    sync_names(path.parent)  # whoever made it may have been killed before that
    if lookup.exists(path / layout.FORMAT):
        require_database(path)
        fs.sync_dir(path)  # the same
        return
    if not lookup.is_dir(path / layout.COLLECTIONS):
        fs.make_dir(path / layout.COLLECTIONS)
    for entry in lookup.entries(path):
        if layout.is_leftover(entry.name):
            fs.discard(entry)
    unfinished = path / layout.new_dir()
    places.write_format(unfinished)
    fs.sync_dir(path)  # FORMAT must not survive a power loss that ``collections`` does not survive
    fs.rename(unfinished, path / layout.FORMAT)
    fs.sync_dir(path)
