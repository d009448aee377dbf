"""What the commands have in common: how they are made known, paths, JSON, the code for damage."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What a command adds itself to."""

DAMAGED = 1
"""The exit code when a database is damaged, or something of it is lost."""

Command = Callable[[argparse.Namespace], int]
"""Does what the command line says, and returns the exit code."""

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


def add_command(
    commands: Commands, name: str, function: Command, summary: str, description: str, example: str
) -> argparse.ArgumentParser:
    """Add a command to the parser; its own arguments are added to what is returned."""
    command = commands.add_parser(
        name, help=summary, description=description, epilog=f"example: {example}"
    )
    command.add_argument("--json", action="store_true", help="print one JSON document instead")
    command.set_defaults(command=function)
    return command


def path(text: str) -> Path:
    """A path from the command line. An empty one, of a variable that is not set, would be ``.``."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    return Path(text)


def keep_log_quiet() -> None:
    """The result says what the engine logs; without a handler standard error would, too."""
    logging.getLogger("vecdb").addHandler(logging.NullHandler())


def print_json(value: Any) -> None:
    """A result as one document."""
    import msgspec

    # Structs become plain values there; the standard module then indents them.
    print(json.dumps(msgspec.to_builtins(value), indent=2))


def size_of(text: str | None) -> int | None:
    """A ``memory_limit`` of the command line in bytes. Raises InvalidInputError."""
    from vecdb.engine.budget import parse_limit

    return parse_limit(int(text) if text is not None and text.isdigit() else text)
