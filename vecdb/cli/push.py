"""``vecdb push`` and ``vecdb pull``: copy a collection to a Qdrant server, and from one."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from vecdb.cli.command import DAMAGED, Command, Commands, add_command, path, print_json
from vecdb.cli.terminal import Screen, count

if TYPE_CHECKING:
    from vecdb.exchange.transfer import TransferReport

_KEY = "QDRANT_API_KEY"
_ALIKE = (
    "Configuration and payload indexes go along. Afterwards the counts of both sides are compared, "
    "and of some points payloads and the scores of exact searches: exit code 1 says that they "
    f"differ. What was interrupted goes on with --resume. The key is taken from {_KEY}."
)


def add_to(commands: Commands) -> None:
    """Both commands and their arguments."""
    push = _command(
        commands,
        "push",
        _push,
        "copy a collection to a Qdrant server",
        "Copy a collection to a Qdrant server, or one of vecdb. No lock is taken.",
        "vecdb push http://localhost:6333 --from my.db --collection texts",
    )
    push.add_argument(
        "--from", dest="directory", metavar="DIR", type=path, required=True, help="the database"
    )
    push.add_argument("--as", dest="name", metavar="NAME", help="what to call it there")
    pull = _command(
        commands,
        "pull",
        _pull,
        "copy a collection from a Qdrant server",
        "Copy a collection from a Qdrant server, or one of vecdb.",
        "vecdb pull http://localhost:6333 --to my.db --collection texts",
    )
    pull.add_argument(
        "--to", dest="directory", metavar="DIR", type=path, required=True, help="the database"
    )
    pull.add_argument("--as", dest="name", metavar="NAME", help="what to call it here")


def _command(
    commands: Commands, name: str, function: Command, summary: str, what: str, example: str
) -> argparse.ArgumentParser:
    command = add_command(commands, name, function, summary, f"{what} {_ALIKE}", example)
    command.add_argument("url", metavar="URL", help="the server, http://… or https://…")
    command.add_argument("--collection", metavar="NAME", required=True)
    command.add_argument("--grpc", action="store_true", help="send points over gRPC")
    command.add_argument("--grpc-port", metavar="PORT", type=int, default=6334)
    command.add_argument("--timeout", metavar="SECONDS", type=int, default=60, help="of a request")
    command.add_argument("--resume", action="store_true", help="go on with what was interrupted")
    return command


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "api_key": os.environ.get(_KEY) or None,
        "prefer_grpc": arguments.grpc,
        "grpc_port": arguments.grpc_port,
        "timeout": arguments.timeout,
        "resume": arguments.resume,
    }


def _push(arguments: argparse.Namespace) -> int:
    from vecdb.database import VecDB
    from vecdb.exchange.transfer import push_collection

    screen = Screen(quiet=arguments.json)
    with VecDB(arguments.directory, read_only=True) as db, screen.bar("points") as bar:
        report = push_collection(
            db.collection(arguments.collection),
            arguments.url,
            arguments.name,
            progress=bar.at,
            **_options(arguments),
        )
    return _told(report, screen, arguments.json)


def _pull(arguments: argparse.Namespace) -> int:
    from vecdb.database import VecDB
    from vecdb.exchange.transfer import pull_collection

    screen = Screen(quiet=arguments.json)
    with VecDB(arguments.directory) as db, screen.bar("points") as bar:
        report = pull_collection(
            db,
            arguments.url,
            arguments.collection,
            arguments.name,
            progress=bar.at,
            **_options(arguments),
        )
    return _told(report, screen, arguments.json)


def _told(report: TransferReport, screen: Screen, as_json: bool) -> int:
    """Print what was done; the exit code."""
    if as_json:
        print_json(report)
    there = f", {report.skipped:,} of them were there" if report.skipped else ""
    screen.line(f"{report.collection}: {count(report.points, 'point')} copied{there}")
    for difference in report.differences:
        screen.line(f"not alike: {difference}")
    if not report.differences:
        screen.line(f"both sides are alike by their counts and {count(report.compared, 'point')}")
    return DAMAGED if report.differences else 0
