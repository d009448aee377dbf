"""The ``vecdb`` command: demo, info, check, repair, snapshot, restore, warmup.

Exit codes: 0 all is well, 1 the database is damaged (check), 2 the command could not be done,
130 interrupted. Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vecdb
from vecdb.errors import VecdbError
from vecdb.terminal import Screen, count, duration, size

if TYPE_CHECKING:
    pass

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
        type=Path,
        help="keep the database here (default: a temporary directory, removed at the end)",
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
    info.add_argument("directory", metavar="DIR", type=Path, help="the database")
    check = _command(
        commands,
        "check",
        _check,
        "read everything and compare it with its checksums",
        "Read every byte of a database that nobody has open, and change nothing. Exit code 0: "
        "whole; 1: damaged, and the files are named; 2: it could not be checked.",
        "vecdb check my.db && cp -r my.db backup.db",
    )
    check.add_argument("directory", metavar="DIR", type=Path, help="the database")
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
    repair.add_argument("directory", metavar="DIR", type=Path, help="the damaged database")
    repair.add_argument(
        "--to", metavar="NEW", type=Path, required=True, help="a new or an empty directory"
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
    snapshot.add_argument("directory", metavar="DIR", type=Path, help="the database")
    snapshot.add_argument("--collection", metavar="NAME", help="only this one")
    snapshot.add_argument("--to", metavar="FILE", type=Path, required=True, help="a new file")
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
    restore.add_argument("file", metavar="FILE", type=Path, help="the snapshot")
    restore.add_argument(
        "--to", metavar="DIR", type=Path, required=True, help="a new, empty, or existing database"
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

    report = check_database(arguments.directory)
    code = 0 if report.ok else DAMAGED
    if arguments.json:
        _print_json(report)
        return code
    screen = Screen()
    found = report.collections
    if report.ok:
        verdict = "ok"
    else:
        verdict = f"DAMAGED: {count(len(report.problems), 'problem')}"
    screen.line(
        f"{screen.bold(verdict)}: {count(len(found), 'collection')}, "
        f"{size(sum(c.bytes for c in found))} read in {duration(report.seconds)}"
    )
    for problem in report.problems:
        screen.line(f"  {problem.path}: {problem.detail}")
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

    collections: dict[str, dict[str, Any]] = {}
    with VecDB(arguments.directory, read_only=True) as db:
        for name in sorted(c.name for c in db.get_collections().collections):
            if name in db.damaged:
                continue
            info: dict[str, Any] = msgspec.to_builtins(db.get_collection(name))
            info["memory"] = db.memory_report(name)
            info["replayed"] = db.collection(name).recovery.replayed
            collections[name] = info
        damaged = {name: str(error) for name, error in db.damaged.items()}
    path = str(arguments.directory.absolute())
    code = DAMAGED if damaged else 0
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
        _show_collection(screen, name, info)
    for name, error in damaged.items():
        screen.line()
        screen.paragraph(f"{name}: cannot be opened: {error}", "")
    return code


def _show_collection(screen: Screen, name: str, info: dict[str, Any]) -> None:
    screen.line(
        f"{screen.bold(name)}: {count(info['points_count'], 'point')}, status {info['status']}"
    )
    optimizer = info["optimizer_progress"]
    state = info["optimizer_status"]
    if state != "ok":
        todo = f"failed: {state['error']}"
    elif optimizer["pending"]:
        todo = f"{optimizer['pending']} is due, when an application opens the database"
    else:
        todo = "nothing to do"
    screen.line(f"  vectors     {'; '.join(_vectors(info['config']))}")
    screen.line(f"  optimizer   {todo}")
    screen.line(
        f"  WAL         {size(info['wal_bytes'])}; "
        f"{count(info['replayed'], 'operation')} not in segment files yet"
    )
    segments = [row for segment in info["segments"] for row in _segment_rows(segment)]
    if segments:
        screen.line()
        headers = [
            "segment",
            "kind",
            "points",
            "deleted",
            "vector",
            "originals",
            "quantized",
            "codes",
        ]
        screen.table(headers, segments, left=len(headers), indent="  ")
    screen.line()
    parts = info["memory"]["parts"] | {"total": info["memory"]["total"]}
    screen.table(
        ["part", "on disk", "private RAM", "mapped", "resident"],
        [
            [
                part.replace("_", " "),
                *(size(figures[key]) for key in ("file", "anonymous", "mapped", "resident")),
            ]
            for part, figures in parts.items()
            if any(figures.values())
        ],
        indent="  ",
    )


def _vectors(config: dict[str, Any]) -> Iterator[str]:
    vectors = config["params"]["vectors"]
    named = {"": vectors} if "size" in vectors and isinstance(vectors["size"], int) else vectors
    for name, params in named.items():
        wanted = params.get("quantization_config") or config.get("quantization_config") or {}
        methods = ", ".join(f"{kind} quantization" for kind in wanted) or "not quantized"
        prefix = f"{name}: " if name else ""
        yield f"{prefix}{params['size']}-d {params['distance']}, {methods}"


def _segment_rows(segment: dict[str, Any]) -> Iterator[list[str]]:
    """One row a named vector; the segment's own figures stand in the first only."""
    where = {"anonymous": "RAM", "mapped": "mapped", None: "-"}
    own = [
        segment["id"].lstrip("0") or "0",
        segment["kind"],
        f"{segment['points']:,}",
        f"{segment['deleted']:,}",
    ]
    for name, vector in segment["vectors"].items():
        yield [
            *own,
            name or "-",
            f"{size(vector['bytes'])} {where[vector['placement']]}",
            vector["quantization"] or "no",
            where[vector["codes_placement"]],
        ]
        own = ["", "", "", ""]
