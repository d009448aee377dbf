"""The ``vecdb`` command: demo, info, check, repair, snapshot, restore, warmup.

Exit codes: 0 all is well, 1 the database is damaged (check, info) or something of it was lost
(repair), 2 the command could not be done, 130 interrupted. Results go to standard output,
everything else to standard error.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import vecdb
from vecdb.errors import VecdbError
from vecdb.terminal import Screen, count, duration, size

DAMAGED = 1
FAILED = 2
INTERRUPTED = 130
_BROKEN_PIPE = 141  # what a shell reports of a program that died of it

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without "µ" is no reason to fail
    parser = _parser()
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
        # Whoever read our output has what they want. The interpreter would complain when it
        # flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except (VecdbError, OSError) as error:
        print(f"vecdb: {error}", file=sys.stderr)
        return FAILED
    except Exception:  # a bug of ours: the interpreter's own exit code for it means "damaged" here
        traceback.print_exc()
        print("vecdb: this is a bug; please report it with the lines above", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vecdb",
        description="An embedded, persistent vector database. Start with: vecdb demo",
        epilog="The commands' own help has an example each: vecdb info --help",
    )
    parser.add_argument("--version", action="version", version=f"vecdb {vecdb.__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    demo = _command(
        commands,
        "demo",
        _demo,
        "show what vecdb does, on real data, in under a minute",
        "Load 5,000 texts with embeddings, search them with every quantization method and in "
        "every storage mode, close, reopen and search again.",
        "vecdb demo my.db",
    )
    demo.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        type=_path,
        help="keep the database here, in a new or an empty directory (default: a temporary one, "
        "removed at the end)",
    )
    info = _command(
        commands,
        "info",
        _info,
        "what a database holds and where every part lives",
        "Collections, points, segments, what is quantized, bytes on disk and in memory, the WAL "
        "and the optimizer's state. Starts no work.",
        "vecdb info my.db",
    )
    info.add_argument("directory", metavar="DIR", type=_path, help="the database")
    check = _command(
        commands,
        "check",
        _check,
        "read everything and compare it with its checksums",
        "Read every byte of a database that nobody has open, and change nothing. Exit code 0: "
        "whole; 1: damaged, and the files are named; 2: it could not be checked.",
        "vecdb check my.db && cp -r my.db backup.db",
    )
    check.add_argument("directory", metavar="DIR", type=_path, help="the database")
    repair = _command(
        commands,
        "repair",
        _repair,
        "save what is whole of a damaged database in a new one",
        "Read a database that nobody has open and write everything that its checksums prove to be "
        "whole to a new one; the damaged one stays as it is. Exit code 0: everything was saved; "
        "1: something was lost, and is named; 2: it could not be done.",
        "vecdb repair my.db --to saved.db",
    )
    repair.add_argument("directory", metavar="DIR", type=_path, help="the damaged database")
    repair.add_argument(
        "--to", metavar="NEW", type=_path, required=True, help="a new or an empty directory"
    )
    snapshot = _command(
        commands,
        "snapshot",
        _snapshot,
        "write a database or a collection to one file, while it is in use",
        "Write one exact state of each collection to one file, with its SHA-256 beside it. No lock "
        "is taken: an application may have the database open and go on writing.",
        "vecdb snapshot my.db --to my.snapshot",
    )
    snapshot.add_argument("directory", metavar="DIR", type=_path, help="the database")
    snapshot.add_argument("--collection", metavar="NAME", help="only this one")
    snapshot.add_argument("--to", metavar="FILE", type=_path, required=True, help="a new file")
    restore = _command(
        commands,
        "restore",
        _restore,
        "make a database or a collection of a snapshot",
        "Read a snapshot, verify all of it, and make a new database of it; or put its collection "
        "into a database that nobody has open. The file may come from anybody. A checksum beside "
        "it must be right. What fails or is interrupted changes nothing.",
        "vecdb restore my.snapshot --to restored.db",
    )
    restore.add_argument("file", metavar="FILE", type=_path, help="the snapshot")
    restore.add_argument(
        "--to", metavar="DIR", type=_path, required=True, help="a new, empty, or existing database"
    )
    restore.add_argument(
        "--collection",
        metavar="NAME",
        help="what to call the collection; of a snapshot of a database: which to take",
    )
    restore.add_argument(
        "--replace", action="store_true", help="the collection may exist, and is replaced"
    )
    _command(
        commands,
        "warmup",
        _warmup,
        "compile the search kernels ahead of time",
        "The kernels are compiled once per machine, about ten seconds, by the first search that "
        "needs them; or now.",
        "vecdb warmup",
    )
    return parser


def _command(
    commands: Any, name: str, function: Command, summary: str, description: str, example: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description, epilog=f"example: {example}"
    )
    command.add_argument("--json", action="store_true", help="print one JSON document instead")
    command.set_defaults(command=function)
    return command


def _path(text: str) -> Path:
    """A path that was given. An empty one, of a variable that is not set, would be ``.``."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    return Path(text)


def _keep_log_quiet() -> None:
    """The result says what the engine logs; without a handler standard error would, too."""
    logging.getLogger("vecdb").addHandler(logging.NullHandler())


def _print_json(value: Any) -> None:
    import msgspec

    # Structs become plain values there; the standard module then indents them.
    print(json.dumps(msgspec.to_builtins(value), indent=2))


# -- demo, warmup ------------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> int:
    from vecdb.demo import run

    report = run(arguments.directory, Screen(quiet=arguments.json))
    if arguments.json:
        _print_json(report)
    return 0


def _warmup(arguments: argparse.Namespace) -> int:
    from vecdb.warmup import compile_kernels

    screen = Screen(quiet=arguments.json)
    screen.line("Compiling the search kernels; about ten seconds the first time.")
    with screen.bar("compiling") as bar:
        result = compile_kernels(bar.at)
    if arguments.json:
        _print_json(result)
        return 0
    modules: dict[str, list[str]] = {}
    for name in sorted(result.compiled):
        module, _, kernel = name.partition(".")
        modules.setdefault(module, []).append(kernel)
    for module, kernels in modules.items():
        screen.paragraph(f"{module}: {', '.join(kernels)}", "  ")
    screen.line(result.describe())
    for path in result.cache:
        screen.line(f"Cache: {path}")
    return 0


# -- check -------------------------------------------------------------------------------------


def _check(arguments: argparse.Namespace) -> int:
    from vecdb.engine.check import check_database

    _keep_log_quiet()
    report = check_database(arguments.directory)
    code = 0 if report.ok else DAMAGED
    if arguments.json:
        _print_json(report)
        return code
    screen = Screen()
    found = report.collections
    # What several steps of the check stumble over is one problem.
    problems = list(
        dict.fromkeys(f"{problem.path}: {problem.detail}" for problem in report.problems)
    )
    if report.ok:
        verdict = "ok"
    else:
        verdict = f"DAMAGED: {count(len(problems), 'problem')}"
    screen.line(
        f"{screen.bold(verdict)}: {count(len(found), 'collection')}, "
        f"{size(sum(c.bytes for c in found))} read in {duration(report.seconds)}"
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
    if found:
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
                for c in found
            ],
            indent="  ",
        )
    for c in found:
        if c.torn_bytes or c.leftovers:
            screen.line()
            screen.paragraph(
                f"{c.name}: a crash left {count(c.torn_bytes, 'byte')} of an unfinished write and "
                f"{count(c.leftovers, 'unfinished segment')}. Neither is damage: nothing of them "
                "was acknowledged, and the next open removes them.",
                "  ",
            )
    return code


def _repair(arguments: argparse.Namespace) -> int:
    from vecdb.engine.repair import repair_database
    from vecdb.repair_report import show

    screen = Screen(quiet=arguments.json)
    with screen.bar("MB saved") as bar:
        report = repair_database(
            arguments.directory,
            arguments.to,
            bar.at_byte,
        )
    if arguments.json:
        _print_json(report)
    else:
        show(screen, report)
    return 0 if report.complete else DAMAGED


# -- snapshot, restore -------------------------------------------------------------------------


def _snapshot(arguments: argparse.Namespace) -> int:
    from vecdb.backup import snapshot

    screen = Screen(quiet=arguments.json)
    with screen.bar("MB written") as bar:
        report = snapshot(arguments.directory, arguments.collection, arguments.to, bar.at_byte)
    if arguments.json:
        _print_json(report)
        return 0
    found = report.snapshot
    screen.line(f"{report.path}: {size(found.size)} written in {duration(report.seconds)}")
    screen.line(f"SHA-256 {found.checksum}")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from vecdb.backup import restore_archive

    screen = Screen(quiet=arguments.json)
    with screen.bar("MB read") as bar:
        report = restore_archive(
            arguments.file, arguments.to, arguments.collection, arguments.replace, bar.at_byte
        )
    if arguments.json:
        _print_json(report)
        return 0
    for name, points in report.collections.items():
        screen.line(f"{name}: {count(points, 'point')}")
    screen.line(f"{report.path}: restored in {duration(report.seconds)}")
    return 0


# -- info --------------------------------------------------------------------------------------


def _info(arguments: argparse.Namespace) -> int:
    import msgspec

    from vecdb.database import VecDB
    from vecdb.info_report import show

    _keep_log_quiet()
    collections: dict[str, dict[str, Any]] = {}
    with VecDB(arguments.directory, read_only=True) as db:
        memory = db.memory_report()["collections"]
        for name in sorted(memory):
            info: dict[str, Any] = msgspec.to_builtins(db.get_collection(name))
            info["memory"] = memory[name]
            info["replayed"] = db.collection(name).recovery.replayed
            collections[name] = info
        damaged = {name: str(error) for name, error in db.damaged.items()}
    path = str(arguments.directory.absolute())
    partly = any(info["damaged_files"] for info in collections.values())
    code = DAMAGED if damaged or partly else 0
    if arguments.json:
        document = {"version": vecdb.__version__, "path": path, "collections": collections}
        _print_json(document | {"damaged": damaged})
        return code
    screen = Screen()
    total = sum(info["memory"]["total"]["file"] for info in collections.values())
    screen.line(
        f"{screen.bold(path)}: {count(len(collections), 'collection')}, {size(total)} on disk"
    )
    for name, info in collections.items():
        screen.line()
        show(screen, name, info)
    for name, error in damaged.items():
        screen.line()
        screen.paragraph(f"{name}: cannot be opened: {error}. Next: vecdb check", "")
    return code
