"""``vecdb snapshot``: write a database or a collection to one file, while it is in use."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from msgspec import Struct

from vecdb.cli.command import Commands, Progress, add_command, path, print_json
from vecdb.cli.terminal import Screen, duration, size
from vecdb.errors import InvalidInputError, NotFoundError
from vecdb.models import SnapshotDescription


def add_to(commands: Commands) -> None:
    """The command and its arguments."""
    command = add_command(
        commands,
        "snapshot",
        _snapshot,
        "write a database or a collection to one file, while it is in use",
        "Write one exact state of each collection to one file, with its SHA-256 beside it. No lock "
        "is taken: an application may have the database open and go on writing. Aliases are not in "
        "it.",
        "vecdb snapshot my.db --to my.snapshot",
    )
    command.add_argument("directory", metavar="DIR", type=path, help="the database")
    command.add_argument("--collection", metavar="NAME", help="only this one")
    command.add_argument("--to", metavar="FILE", type=path, required=True, help="a new file")


def _snapshot(arguments: argparse.Namespace) -> int:
    screen = Screen(quiet=arguments.json)
    with screen.bar("MB written") as bar:
        report = write_archive(arguments.directory, arguments.collection, arguments.to, bar.at_byte)
    if arguments.json:
        print_json(report)
        return 0
    taken = report.snapshot
    screen.line(f"{report.path}: {size(taken.size)} written in {duration(report.seconds)}")
    screen.line(f"SHA-256 {taken.checksum}")
    return 0


class SnapshotReport(Struct):
    """What ``vecdb snapshot`` wrote."""

    path: str
    snapshot: SnapshotDescription
    seconds: float


def write_archive(
    root: Path, collection: str | None, to: Path, progress: Progress
) -> SnapshotReport:
    """Write an archive of a database, or of one collection, that others may be using."""
    from vecdb.engine.archive import snapshots
    from vecdb.engine.open import database_dir, places
    from vecdb.storage import layout

    started = time.monotonic()
    database_dir.require_database(root)
    paths = places.collection_dirs(root / layout.COLLECTIONS)
    if collection is not None:
        escaped = layout.escape(database_dir.check_name(collection))
        known_paths, paths = paths, [path for path in paths if path.name == escaped]
        if not paths:
            known = ", ".join(map(repr, sorted(map(places.name_of_place, known_paths)))) or "none"
            raise NotFoundError(
                f"{root}: there is no collection {collection!r}; there are: {known}"
            )
    if not to.absolute().parent.is_dir():
        raise InvalidInputError(f"{to}: the directory {to.absolute().parent} does not exist")
    total = snapshots.size_of(paths)
    taken = snapshots.take_as(
        to.absolute(),
        paths,
        whole=collection is None,
        progress=lambda done: progress(min(done, total), total),
    )
    return SnapshotReport(str(to.absolute()), taken, time.monotonic() - started)
