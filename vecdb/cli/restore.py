"""``vecdb restore``: make a database or a collection of a snapshot."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from msgspec import Struct

from vecdb.cli.command import Commands, Progress, add_command, path, print_json
from vecdb.cli.terminal import Screen, count, duration
from vecdb.errors import AlreadyExistsError, CorruptionError, InvalidInputError


def add_to(commands: Commands) -> None:
    """The command and its arguments."""
    command = add_command(
        commands,
        "restore",
        _restore,
        "make a database or a collection of a snapshot",
        "Read a snapshot, verify all of it, and make a new database of it; or put its collection "
        "into a database that nobody has open. The file may come from anybody. A checksum beside "
        "it must be right. What fails or is interrupted changes nothing.",
        "vecdb restore my.snapshot --to restored.db",
    )
    command.add_argument("file", metavar="FILE", type=path, help="the snapshot")
    command.add_argument(
        "--to", metavar="DIR", type=path, required=True, help="a new, empty, or existing database"
    )
    command.add_argument(
        "--collection",
        metavar="NAME",
        help="what to call the collection; of a snapshot of a database: which to take",
    )
    command.add_argument(
        "--replace", action="store_true", help="the collection may exist, and is replaced"
    )


def _restore(arguments: argparse.Namespace) -> int:
    screen = Screen(quiet=arguments.json)
    with screen.bar("MB read") as bar:
        report = restore_archive(
            arguments.file, arguments.to, arguments.collection, arguments.replace, bar.at_byte
        )
    if arguments.json:
        print_json(report)
        return 0
    for name, points in report.collections.items():
        screen.line(f"{name}: {count(points, 'point')}")
    screen.line(f"{report.path}: restored in {duration(report.seconds)}")
    return 0


class RestoreReport(Struct):
    """What ``vecdb restore`` made."""

    path: str
    collections: dict[str, int]
    """Points by name."""
    seconds: float


def restore_archive(
    archive: Path, root: Path, collection: str | None, replace: bool, progress: Progress
) -> RestoreReport:
    """Make a new database of an archive, or restore one collection into a database that is there.

    If a checksum stands beside the archive, it must be right.
    """
    from vecdb.engine.archive import restore
    from vecdb.storage import layout

    started = time.monotonic()
    checksum = _checksum_of(archive)
    total = archive.stat().st_size if archive.is_file() else 0

    def watch(done: int) -> None:
        progress(done, total)

    if not (root / layout.FORMAT).exists():
        restored = restore.restore_database(archive, root, collection, checksum, watch)
        return RestoreReport(str(root.absolute()), restored, time.monotonic() - started)
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
    from vecdb.engine.archive import snapshots
    from vecdb.storage import layout

    beside = archive.absolute().with_name(archive.name + layout.SHA256)
    checksum = snapshots.checksum_beside(archive)
    if checksum is None and beside.exists():
        raise CorruptionError(beside, "holds no SHA-256; remove it to restore without one")
    return checksum
