"""``vecdb import``: write the points of a file into a collection."""

from __future__ import annotations

import argparse

from vecdb.cli.command import Commands, add_command, path, print_json
from vecdb.cli.terminal import Screen, count


def add_to(commands: Commands) -> None:
    """The command and its arguments."""
    command = add_command(
        commands,
        "import",
        _import,
        "write the points of a file into a collection",
        "Read what vecdb export wrote, or another program, and write it into a collection, which "
        "is made if it does not exist. Points that exist are replaced. What was interrupted goes "
        "on with --resume: points that exist then stay as they are.",
        "vecdb import texts.parquet --to my.db --collection texts",
    )
    command.add_argument("file", metavar="FILE", type=path, help="the file to read")
    command.add_argument("--to", metavar="DIR", type=path, required=True, help="the database")
    command.add_argument("--collection", metavar="NAME", required=True)
    command.add_argument("--format", metavar="FORMAT", help="if the file's name does not say it")
    command.add_argument(
        "--distance", metavar="NAME", help="of a new collection, if the file does not say it"
    )
    command.add_argument(
        "--vector", metavar="NAME", help="which vector it is that the file has, if it has one"
    )
    command.add_argument("--resume", action="store_true", help="go on with what was interrupted")


def _import(arguments: argparse.Namespace) -> int:
    from vecdb.database import VecDB
    from vecdb.exchange.formats import open_source
    from vecdb.exchange.importing import import_collection

    open_source(arguments.file, arguments.format)  # no database is made for what cannot be read
    screen = Screen(quiet=arguments.json)
    with VecDB(arguments.to) as db, screen.bar("points") as bar:
        report = import_collection(
            db,
            arguments.collection,
            arguments.file,
            arguments.format,
            distance=arguments.distance,
            using=arguments.vector,
            resume=arguments.resume,
            progress=bar.at,
        )
    if arguments.json:
        print_json(report)
        return 0
    there = f", {report.skipped:,} of them were there" if report.skipped else ""
    replaced = f", {report.replaced:,} replaced others of their ids" if report.replaced else ""
    screen.line(f"{report.collection}: {count(report.points, 'point')} read{there}{replaced}")
    return 0
