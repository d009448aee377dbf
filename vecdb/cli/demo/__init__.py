"""``vecdb demo``: what the database does, on real data, in under a minute."""

from __future__ import annotations

import argparse

from vecdb.cli.command import Commands, add_command, path, print_json
from vecdb.cli.terminal import Screen


def add_to(commands: Commands) -> None:
    """The command and its arguments."""
    command = add_command(
        commands,
        "demo",
        _demo,
        "show what vecdb does, on real data, in under a minute",
        "Load 5,000 texts with embeddings, search them with every quantization method and in "
        "every storage mode, close, reopen and search again.",
        "vecdb demo my.db",
    )
    command.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        type=path,
        help="keep the database here, in a new or an empty directory (default: a temporary one, "
        "removed at the end)",
    )


def _demo(arguments: argparse.Namespace) -> int:
    from vecdb.cli.demo.run import run

    report = run(arguments.directory, Screen(quiet=arguments.json))
    if arguments.json:
        print_json(report)
    return 0
