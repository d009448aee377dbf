"""The commands ``vecdb snapshot`` and ``vecdb restore``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from vecdb.engine import directory, recovery, restore, snapshots
from vecdb.errors import (
    AlreadyExistsError,
    CorruptionError,
    InvalidInputError,
    NotFoundError,
)
from vecdb.models import SnapshotDescription
from vecdb.storage import layout

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


class SnapshotReport(Struct):
    """What ``vecdb snapshot`` wrote."""

    path: str
    snapshot: SnapshotDescription
    seconds: float


class RestoreReport(Struct):
    """What ``vecdb restore`` made."""

    path: str
    collections: dict[str, int]
    """Points by name."""
    seconds: float


def snapshot(root: Path, collection: str | None, to: Path, progress: Progress) -> SnapshotReport:
    """Write an archive of a database, or of one collection, that others may be using."""
    started = time.monotonic()
    directory.require_database(root)
    paths = recovery.collection_dirs(root / layout.COLLECTIONS)
    if collection is not None:
        escaped = layout.escape(directory.check_name(collection))
        places, paths = paths, [path for path in paths if path.name == escaped]
        if not paths:
            known = ", ".join(map(repr, sorted(map(recovery.name_of_place, places)))) or "none"
            raise NotFoundError(
                f"{root}: there is no collection {collection!r}; there are: {known}"
            )
    if not to.absolute().parent.is_dir():
        raise InvalidInputError(f"{to}: the directory {to.absolute().parent} does not exist")
    total = snapshots.size_of(paths)
    found = snapshots.take_as(
        to.absolute(),
        paths,
        whole=collection is None,
        progress=lambda done: progress(min(done, total), total),
    )
    return SnapshotReport(str(to.absolute()), found, time.monotonic() - started)


def restore_archive(
    archive: Path, root: Path, collection: str | None, replace: bool, progress: Progress
) -> RestoreReport:
    """Make a new database of an archive, or restore one collection into a database that is there.

    If a checksum stands beside the archive, it must be right.
    """
    started = time.monotonic()
    checksum = _checksum_of(archive)
    total = archive.stat().st_size if archive.is_file() else 0

    def watch(done: int) -> None:
        progress(done, total)

    if not (root / layout.FORMAT).exists():
        found = restore.restore_database(archive, root, collection, checksum, watch)
        return RestoreReport(str(root.absolute()), found, time.monotonic() - started)
    if collection is None:
        whole, names = restore.contents(archive)
        if whole:
            raise InvalidInputError(
                f"{archive} is of a whole database, and {root} is one: give a new directory, or "
                f"name the collection to restore"
            )
        collection = names[0]
    try:
        points = restore.restore_collection(
            archive, root.absolute(), collection, checksum, replace=replace, progress=watch
        )
    except AlreadyExistsError as error:
        raise AlreadyExistsError(f"{error}; give --replace to replace it") from None
    return RestoreReport(str(root.absolute()), {collection: points}, time.monotonic() - started)


def _checksum_of(archive: Path) -> str | None:
    """What stands beside an archive. Raises CorruptionError if that is something else."""
    beside = archive.absolute().with_name(archive.name + layout.SHA256)
    checksum = snapshots.checksum_beside(archive)
    if checksum is None and beside.exists():
        raise CorruptionError(beside, "holds no SHA-256; remove it to restore without one")
    return checksum
