"""``vecdb check``: read everything and compare it with its checksums."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vecdb.cli.command import DAMAGED, Commands, add_command, keep_log_quiet, path, print_json
from vecdb.cli.terminal import Screen, count, duration, size

if TYPE_CHECKING:
    from vecdb.engine.repair.check import CheckReport


def add_to(commands: Commands) -> None:
    """The command and its arguments."""
    command = add_command(
        commands,
        "check",
        _check,
        "read everything and compare it with its checksums",
        "Read every byte of a database that nobody has open, and change nothing. Exit code 0: "
        "whole; 1: damaged, and the files are named; 2: it could not be checked.",
        "vecdb check my.db && cp -r my.db backup.db",
    )
    command.add_argument("directory", metavar="DIR", type=path, help="the database")


def _check(arguments: argparse.Namespace) -> int:
    from vecdb.engine.repair.check import check_database

    keep_log_quiet()
    report = check_database(arguments.directory)
    if arguments.json:
        print_json(report)
    else:
        _show(Screen(), report)
    return 0 if report.ok else DAMAGED


def _show(screen: Screen, report: CheckReport) -> None:
    collections = report.collections
    # Damage that several steps of the check meet is one problem.
    problems = list(
        dict.fromkeys(f"{problem.path}: {problem.detail}" for problem in report.problems)
    )
    if report.ok:
        verdict = "ok"
    else:
        verdict = f"DAMAGED: {count(len(problems), 'problem')}"
    screen.line(
        f"{screen.bold(verdict)}: {count(len(collections), 'collection')}, "
        f"{size(sum(c.bytes for c in collections))} read in {duration(report.seconds)}"
    )
    for problem in problems:
        screen.line(f"  {problem}")
    if problems:
        screen.line()
        screen.paragraph(
            "Codes, quantizers, order and manifests may be damaged without a loss: they are "
            "written anew when an application opens the database. Of the rest, vecdb repair DIR "
            "--to NEW saves what is whole; a snapshot brings back what was in it.",
            "  ",
        )
    if collections:
        screen.line()
        screen.table(
            ["collection", "points in files", "segments", "files", "bytes", "in the WAL"],
            [
                [
                    c.name,
                    f"{c.points:,}",
                    f"{c.segments:,}",
                    f"{c.files:,}",
                    size(c.bytes),
                    count(c.wal_operations, "operation"),
                ]
                for c in collections
            ],
            indent="  ",
        )
    for c in collections:
        if c.torn_bytes or c.leftovers:
            screen.line()
            screen.paragraph(
                f"{c.name}: a crash left {count(c.torn_bytes, 'byte')} of an unfinished write and "
                f"{count(c.leftovers, 'unfinished segment')}. Neither is damage: nothing of them "
                "was acknowledged, and the next open removes them.",
                "  ",
            )
