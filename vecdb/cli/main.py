"""The ``vecdb`` command, which has the others: demo, serve, info, check and so on.

Exit codes: 0 all is well, 1 the database is damaged (check, info), something of it was lost
(repair) or a copy differs (push, pull), 2 the command could not be done, 130 interrupted. Results
go to standard output, everything else to standard error.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence

import vecdb
from vecdb.cli import (
    check,
    demo,
    export,
    import_,
    info,
    push,
    repair,
    restore,
    serve,
    snapshot,
    warmup,
)
from vecdb.cli.command import Command
from vecdb.errors import VecdbError
from vecdb.kernels.library import KernelsError

FAILED = 2
INTERRUPTED = 130
_BROKEN_PIPE = 141  # what a shell reports of a program that died of it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without "µ" is no reason to fail
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    command: Command | None = parsed.command
    try:
        if command is None:
            parser.print_help()
            code = 0
        else:
            code = command(parsed)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("vecdb: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has closed it, and has what they want. The interpreter would
        # complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except (VecdbError, KernelsError, OSError) as error:
        print(f"vecdb: {error}", file=sys.stderr)
        return FAILED
    except Exception:  # a bug of ours: the interpreter's own exit code for it means "damaged" here
        traceback.print_exc()
        print("vecdb: this is a bug; please report it with the lines above", file=sys.stderr)
        return FAILED


def make_parser() -> argparse.ArgumentParser:
    """The parser of ``vecdb`` and of all its commands, in the order of the help."""
    parser = argparse.ArgumentParser(
        prog="vecdb",
        description="An embedded, persistent vector database. Start with: vecdb demo",
        epilog="The commands' own help has an example each: vecdb info --help",
    )
    parser.add_argument("--version", action="version", version=f"vecdb {vecdb.__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in (
        demo,
        serve,
        info,
        check,
        repair,
        snapshot,
        restore,
        export,
        import_,
        push,
        warmup,
    ):
        module.add_to(commands)
    return parser
