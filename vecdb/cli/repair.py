"""``vecdb repair``: save what is whole of a damaged database; say what was lost, and why."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vecdb.cli.command import DAMAGED, Commands, add_command, path, print_json
from vecdb.cli.terminal import Screen, count, duration

if TYPE_CHECKING:
    from vecdb.engine.repair.rebuild import CollectionRepair, RepairReport


def add_to(commands: Commands) -> None:
    """The command and its arguments."""
    command = add_command(
        commands,
        "repair",
        _repair,
        "save what is whole of a damaged database in a new one",
        "Read a database that nobody has open and write everything that its checksums prove to be "
        "whole to a new one; the damaged one stays as it is. Exit code 0: everything was saved; "
        "1: something was lost, and is named; 2: it could not be done.",
        "vecdb repair my.db --to saved.db",
    )
    command.add_argument("directory", metavar="DIR", type=path, help="the damaged database")
    command.add_argument(
        "--to", metavar="NEW", type=path, required=True, help="a new or an empty directory"
    )


def _repair(arguments: argparse.Namespace) -> int:
    from vecdb.engine.repair.rebuild import repair_database

    screen = Screen(quiet=arguments.json)
    with screen.bar("MB saved") as bar:
        report = repair_database(arguments.directory, arguments.to, bar.at_byte)
    if arguments.json:
        print_json(report)
    else:
        _show(screen, report)
    return 0 if report.complete else DAMAGED


def _show(screen: Screen, report: RepairReport) -> None:
    collections = report.collections
    points = count(sum(collection.saved for collection in collections), "point")
    verdict = "everything was saved" if report.complete else "SOMETHING WAS LOST"
    screen.line(
        f"{screen.bold(verdict)}: {count(len(collections), 'collection')}, {points} in "
        f"{report.target}, {duration(report.seconds)}"
    )
    if collections:
        screen.line()
        screen.table(
            ["collection", "saved", "lost", "partly lost", "uncertain", "from the log", "gaps"],
            [
                [
                    c.name,
                    *(f"{n:,}" for n in (c.saved, c.lost, c.partly_lost, c.uncertain)),
                    count(c.operations, "operation"),
                    f"{len(c.log_gaps) + len(c.unusable_operations):,}",
                ]
                for c in collections
            ],
            indent="  ",
        )
    for collection in collections:
        said = list(_sentences(collection))
        if said or collection.damaged:
            screen.line()
            screen.line(screen.bold(collection.name))
        for sentence in said:
            screen.paragraph(sentence, "  ")
        for problem in collection.damaged:
            screen.line(f"  {problem.path}: {problem.detail}")
    if report.damaged:
        screen.line()
    for problem in report.damaged:
        screen.line(f"{problem.path}: {problem.detail}")


def _sentences(c: CollectionRepair) -> Iterator[str]:
    if c.error is not None:
        yield f"Nothing could be saved: {c.error}."
    if c.lost:
        ids = f": {_listed(c.lost_ids, c.lost)}" if c.lost_ids else "; their ids are lost, too"
        yield f"Lost {count(c.lost, 'point')}{ids}."
    if c.partly_lost:
        points = [f"{point.id!r} ({', '.join(point.lost)})" for point in c.partly_lost_points]
        yield f"Saved without a part: {_listed(points, c.partly_lost)}."
    if c.uncertain:
        yield (
            f"{count(c.uncertain, 'point')} may have been deleted or replaced by a newer one "
            f"that is lost: the catalog does not tell any more."
        )
    for gap in c.log_gaps:
        which = f"from {gap.first} on, if there were any," if gap.last is None else ""
        which = which or (str(gap.first) if gap.first == gap.last else f"{gap.first} to {gap.last}")
        yield f"Lost of the log: operations {which} ({gap.reason})."
    yield from (f"Not applied: {operation}." for operation in c.unusable_operations[:20])
    if c.guessed:
        yield (
            f"Only the log knows these vectors, and not their distance. They are saved as "
            f"{', '.join(c.guessed)}."
        )
    if c.edits_skipped:
        yield f"Edits in the log found {count(c.edits_skipped, 'point')} missing."
    if c.torn_bytes:
        yield (
            f"The log ends in {count(c.torn_bytes, 'byte')} that are no whole write: one that a "
            f"crash cut short, and that was never acknowledged, or damage of the last one."
        )


def _listed(first: Sequence[Any], number: int) -> str:
    more = f" and {number - len(first):,} more" if number > len(first) else ""
    return ", ".join(map(str, first)) + more
