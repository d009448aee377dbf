"""``vecdb export``: write the points of a collection to a file for other programs."""

from __future__ import annotations

import argparse

from vecdb.cli.command import Commands, add_command, path, print_json
from vecdb.cli.terminal import Screen, count, size


def add_to(commands: Commands) -> None:
    """The command and its arguments."""
    command = add_command(
        commands,
        "export",
        _export,
        "write the points of a collection to a file for other programs",
        "Write ids, vectors and payloads of one state of a collection as JSON lines, Parquet, "
        "NumPy, fvecs, fbin, HDF5 or safetensors. No lock is taken: an application may have the "
        "database open. The file appears when it is whole; what was interrupted goes on with "
        "--resume, unless the collection was written to since.",
        "vecdb export my.db --collection texts --to texts.parquet",
    )
    command.add_argument("directory", metavar="DIR", type=path, help="the database")
    command.add_argument("--collection", metavar="NAME", required=True)
    command.add_argument("--to", metavar="FILE", type=path, required=True, help="the file to write")
    command.add_argument("--format", metavar="FORMAT", help="if the file's name does not say it")
    command.add_argument(
        "--vector", metavar="NAME", action="append", help="only this vector; may be repeated"
    )
    command.add_argument("--no-payload", action="store_true", help="leave payloads out")
    command.add_argument("--resume", action="store_true", help="go on with what was interrupted")
    command.add_argument("--overwrite", action="store_true", help="begin anew, replace the file")


def _export(arguments: argparse.Namespace) -> int:
    from vecdb.database import VecDB
    from vecdb.exchange.exporting import export_collection

    screen = Screen(quiet=arguments.json)
    with VecDB(arguments.directory, read_only=True) as db, screen.bar("points") as bar:
        report = export_collection(
            db.collection(arguments.collection),
            arguments.to,
            arguments.format,
            vectors=arguments.vector,
            with_payload=not arguments.no_payload,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
            progress=bar.at,
        )
    if arguments.json:
        print_json(report)
        return 0
    screen.line(f"{report.path}: {count(report.points, 'point')}, {size(report.bytes)}")
    if report.left_out:
        screen.line(f"left out: {count(report.left_out, 'point')} without this vector")
    return 0
