"""Restoring: a collection, or a whole database, from an archive.

    unpack   into a new directory under a ``.new-`` name, durable and verified (``unpack.py``)
    commit   one rename, to the collection's ``.restored-`` name
    place    the collection that was there goes, the new one takes its name (``places.py``)

A new database is made whole under a ``.new-`` name, and its commit is the rename to its own. An
error before the commit leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vecdb.engine.archive.unpack import Archive, Unpacked
from vecdb.engine.open import database_dir, places
from vecdb.engine.open.aliases import Aliases
from vecdb.engine.signals import Uninterrupted
from vecdb.errors import (
    AlreadyExistsError,
    CorruptionError,
    NotADatabaseError,
    NotFoundError,
    WriteError,
)
from vecdb.storage import fs, layout, lookup
from vecdb.storage.place import Place, entered
from vecdb.storage.tar import Progress, no_progress


def unpack_collection(
    path: Path,
    parent: Path,
    name: str,
    checksum: str | None = None,
    progress: Progress = no_progress,
) -> Unpacked:
    """Unpack the collection of an archive of one, or the named one of an archive of many. Raises
    NotFoundError, CorruptionError, FormatVersionError, StorageFullError, OSError; then nothing is
    left behind."""
    unpacked: Unpacked | None = None
    others = []
    try:
        with Archive(path, checksum, progress) as archive:
            for manifest in archive.collections():
                if archive.whole and (manifest.name != name or unpacked is not None):
                    archive.skip(manifest)
                    others.append(manifest.name)
                else:
                    unpacked = archive.unpack(manifest, parent, name)
        if unpacked is None:
            raise _no_such_collection(path, name, others)
    except BaseException:
        if unpacked is not None:
            fs.remove_tree(unpacked.path)
        raise
    return unpacked


def _no_such_collection(path: Path, name: str, others: list[str]) -> NotFoundError:
    known = ", ".join(map(repr, sorted(others))) or "none"
    return NotFoundError(f"{path}: there is no collection {name!r} in it; there are: {known}")


@contextmanager
def kept_until_committed(unpacked: Unpacked) -> Iterator[None]:
    """Remove what was unpacked if the block fails before it commits."""
    try:
        yield
    finally:
        fs.remove_tree(unpacked.path)  # committed: it has another name


def commit(unpacked: Unpacked) -> Path:
    """Commit that a collection takes its place: from now on nothing else can happen. Returns its
    directory. Raises OSError: it will not take it. Raises WriteError: after a crash it may, so what
    is there now must not be written to."""
    parent = unpacked.path.parent
    restored = parent / layout.restored_dir(layout.escape(unpacked.name))
    places.finish_or_withdraw(restored)  # one that failed to take its place, before this one does
    try:
        fs.rename(unpacked.path, restored)
        fs.sync_dir(parent)
    except BaseException as error:
        if _may_exist(restored):  # a rename that failed may have been done
            _withdraw(restored, error)
        raise
    return restored


def _may_exist(path: Path) -> bool:
    """Whether there is something, or nobody can tell."""
    try:
        return lookup.exists(path)
    except OSError:
        return True


def _withdraw(restored: Path, error: BaseException) -> None:
    """Take a commit back, whatever name its directory will have after a crash. Once a sync of the
    parent has failed, nothing is certain about names there; in the directory itself no sync has
    failed. The next open removes it."""
    try:
        fs.rename(restored / layout.FORMAT, restored / layout.WITHDRAWN)
        fs.sync_dir(restored)
    except OSError as second:
        raise WriteError(second.errno, f"{restored}: {second}") from error


def restore_collection(
    path: Path,
    root: Path,
    name: str,
    checksum: str | None = None,
    *,
    replace: bool = False,
    progress: Progress = no_progress,
) -> int:
    """Restore one collection into a database that nobody has open. Returns how many points it has.
    Raises LockedError and AlreadyExistsError (unless ``replace``), and as ``unpack_collection``."""
    database_dir.check_name(name)
    database_dir.require_database(root)
    place, lock = database_dir.hold(root)
    try:
        with place:
            return _restore_into(place, path, name, checksum, replace, progress)
    finally:
        lock.release()
        place.close()


def _restore_into(
    place: Place, path: Path, name: str, checksum: str | None, replace: bool, progress: Progress
) -> int:
    root = place.path
    parent = root / layout.COLLECTIONS
    database_dir.initialize(root)  # its names are durable: a killed process may have made it
    places.finish_restores(parent)
    aliases = Aliases(root, lambda name: places.exists(parent / layout.escape(name)))
    aliases.read()
    name = aliases.meant(name)
    if not lookup.exists(parent / layout.escape(name)):
        aliases.make_way(name)
    elif not replace:
        raise AlreadyExistsError(f"{root}: collection {name!r} exists")
    unpacked = unpack_collection(path, parent, name, checksum, progress)
    with kept_until_committed(unpacked), Uninterrupted():
        place.require()
        commit(unpacked)
        places.finish_restores(parent)
    return unpacked.points


def restore_database(
    path: Path,
    root: Path,
    name: str | None = None,
    checksum: str | None = None,
    progress: Progress = no_progress,
) -> dict[str, int]:
    """Make a new database of what an archive holds; how many points each collection has.

    ``name``: what to call the collection of an archive of one, and which to take from an archive
    of many. The directory must not exist, or be empty. Raises NotADatabaseError, and as
    ``unpack_collection``; then nothing is left behind. Raises WriteError: it is whole, and has its
    name, but power loss may take that. Raises PlaceTakenError: it is whole, in a directory that was
    moved meanwhile.
    """
    root = root.resolve()
    if not root.parent.is_dir():
        raise NotADatabaseError(f"{root}: the directory {root.parent} does not exist")
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise NotADatabaseError(f"{root} is not empty; give a new or an empty directory")
    with entered(root.parent) as place:
        points = _make_database(path, root, name, checksum, progress)
        place.require()
    return points


def _make_database(
    path: Path, root: Path, name: str | None, checksum: str | None, progress: Progress
) -> dict[str, int]:
    temporary = root.parent / layout.new_dir()
    parent = temporary / layout.COLLECTIONS
    fs.make_dir(temporary)
    try:
        database_dir.initialize(temporary)
        points = _unpack_all(path, parent, name, checksum, progress)
    except BaseException:
        fs.remove_tree(temporary)
        raise
    with Uninterrupted():
        try:
            fs.rename(temporary, root)
            fs.sync_dir(root.parent)
        except BaseException as error:
            if lookup.exists(temporary):
                fs.remove_tree(temporary)
                raise
            detail = f"{root}: restored, but it may not be durable: {error}"
            raise WriteError(getattr(error, "errno", None), detail) from error
    return points


def _unpack_all(
    path: Path, parent: Path, name: str | None, checksum: str | None, progress: Progress
) -> dict[str, int]:
    points: dict[str, int] = {}
    others = []
    with Archive(path, checksum, progress) as archive:
        for manifest in archive.collections():
            if name is not None and archive.whole and manifest.name != name:
                archive.skip(manifest)
                others.append(manifest.name)
                continue
            unpacked = archive.unpack(manifest, parent, name or manifest.name)
            if unpacked.name in points:
                raise CorruptionError(path, f"has two collections {unpacked.name!r}")
            fs.rename(unpacked.path, parent / layout.escape(unpacked.name))
            points[unpacked.name] = unpacked.points
    if name is not None and name not in points:
        raise _no_such_collection(path, name, others)
    fs.sync_dir(parent)
    return points


def contents(path: Path) -> tuple[bool, list[str]]:
    """Whether an archive is of a whole database, and the collections in it, unverified."""
    with Archive(path) as archive:
        names = []
        for manifest in archive.collections():
            archive.skip(manifest)
            names.append(manifest.name)
        return archive.whole, names
