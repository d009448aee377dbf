"""``vecdb info``: what a database holds and where every part lives."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import vecdb
from vecdb.cli.command import (
    DAMAGED,
    Commands,
    add_command,
    keep_log_quiet,
    path,
    print_json,
    size_of,
)
from vecdb.cli.terminal import Screen, count, size

_FIGURES = {
    "on disk": "file",
    "private RAM": "anonymous",
    "mapped": "mapped",
    "resident": "resident",
}
_RECALLS = (0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.998)  # of a table that has more lines


def add_to(commands: Commands) -> None:
    """The command and its arguments."""
    command = add_command(
        commands,
        "info",
        _info,
        "what a database holds and where every part lives",
        "Collections, points, segments, payload indexes, what is quantized, bytes on disk and in "
        "memory, the WAL and the optimizer's state. Starts no work.",
        "vecdb info my.db",
    )
    command.add_argument("directory", metavar="DIR", type=path, help="the database")
    command.add_argument(
        "--memory",
        action="store_true",
        help="of memory only, and all of it: every segment, every part, and the process",
    )
    command.add_argument("--memory-limit", metavar="SIZE", help="as 512MB: does it fit?")


def _info(arguments: argparse.Namespace) -> int:
    import msgspec

    from vecdb.database import VecDB

    keep_log_quiet()
    collections: dict[str, dict[str, Any]] = {}
    limit = size_of(arguments.memory_limit)
    with VecDB(
        arguments.directory, read_only=True, memory_limit=limit, on_over_budget="demote"
    ) as db:
        report = db.memory_report()
        memory = report["collections"]
        for name in sorted(memory):
            info: dict[str, Any] = msgspec.to_builtins(db.get_collection(name))
            info["memory"] = memory[name]
            info["replayed"] = db.collection(name).recovery.replayed
            collections[name] = info
        damaged = {name: str(error) for name, error in db.damaged.items()}
    where = str(arguments.directory.absolute())
    partly = any(info["damaged_files"] for info in collections.values())
    code = DAMAGED if damaged or partly else 0
    if arguments.json:
        document = {"version": vecdb.__version__, "path": where, "collections": collections}
        document["process"] = report["process"]
        print_json(document | {"damaged": damaged})
        return code
    screen = Screen()
    total = sum(info["memory"]["total"]["file"] for info in collections.values())
    screen.line(
        f"{screen.bold(where)}: {count(len(collections), 'collection')}, {size(total)} on disk"
    )
    for name, info in collections.items():
        screen.line()
        if arguments.memory:
            _show_memory(screen, name, info["memory"])
        else:
            _show(screen, name, info)
    if limit is not None:
        _show_limit(screen, limit, memory)
    for name, error in damaged.items():
        screen.line()
        screen.paragraph(f"{name}: cannot be opened: {error}. Next: vecdb check", "")
    if arguments.memory:
        _show_process(screen, report)
    return code


def _show_limit(screen: Screen, limit: int, memory: dict[str, dict[str, Any]]) -> None:
    """Whether all that is said to be in memory has room within a limit."""
    demoted = [(name, each) for name, of in memory.items() for each in of["demoted"]]
    screen.line()
    if not demoted:
        screen.line(f"Within {size(limit)} all that is said to be in memory has room.")
        return
    parts = [
        f"{each['part']} of {name}, segment {_short({'id': each['segment']})}: "
        f"{size(each['bytes'])}"
        for name, each in demoted
    ]
    screen.paragraph(
        f"Within {size(limit)} there is no room for what is said to be in memory: "
        f"{'; '.join(parts)}. Opening it for writing takes a larger memory_limit, other "
        f"placements, or on_over_budget='demote'.",
        "",
    )


def _show(screen: Screen, name: str, info: dict[str, Any]) -> None:
    """One collection, as ``get_collection`` and ``memory_report`` describe it, as plain values."""
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
    screen.line(f"  vectors     {'; '.join(_vectors(info['config'])) or 'none'}")
    screen.line(f"  optimizer   {todo}")
    screen.line(
        f"  WAL         {size(info['wal_bytes'])}; "
        f"{count(info['replayed'], 'operation')} not in segment files yet"
    )
    for file in info["damaged_files"]:
        screen.line(f"  DAMAGED     {file['path']}: {file['detail']}")
    if info["damaged_files"]:
        screen.line("              no data is lost; written anew when an application opens it")
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
    _show_fields(screen, info)
    for segment in info["segments"]:
        for vector, figures in segment["vectors"].items():
            if figures["index"] is not None:
                recall = info["config"]["optimizer_config"]["recall"]
                _show_index(screen, segment, vector, figures["index"], recall)
    screen.line()
    _show_parts(screen, info["memory"])


def _show_parts(screen: Screen, report: dict[str, Any]) -> None:
    parts = report["parts"] | {"total": report["total"]}
    screen.table(["part", *_FIGURES], list(_part_rows(parts)), indent="  ")
    screen.line()
    screen.paragraph(f"In short: {report['explanation']}.", "  ")


def _part_rows(parts: dict[str, dict[str, int]]) -> Iterator[list[str]]:
    """What there is something of."""
    for part, figures in parts.items():
        if any(figures.values()):
            yield [part.replace("_", " "), *(size(figures[key]) for key in _FIGURES.values())]


def _show_memory(screen: Screen, name: str, report: dict[str, Any]) -> None:
    """A ``memory_report``: of the collection, then of each segment and of its vector names."""
    screen.line(screen.bold(name))
    _show_parts(screen, report)
    rows = []
    for segment in report["segments"]:
        label = [_short(segment), segment["kind"]]
        others = {part: dict(figures) for part, figures in segment["parts"].items()}
        for vector, parts in segment["vectors"].items():
            rows += [[*label, vector or "-", *row] for row in _part_rows(parts)]
            for part, figures in parts.items():
                for figure, value in figures.items():
                    others[part][figure] -= value
        rows += [[*label, "", *row] for row in _part_rows(others)]
    if rows:
        screen.line()
        screen.table(["segment", "kind", "vector", "part", *_FIGURES], rows, left=4, indent="  ")


def _show_process(screen: Screen, report: dict[str, Any]) -> None:
    process, own = report["process"], report["process"]["own"]
    screen.line()
    screen.paragraph(
        f"The process has {size(process['anonymous'])} of private RAM and "
        f"{size(process['resident'])} of files resident; {size(own['anonymous'])} and "
        f"{size(own['resident'])} of that are its own: Python and libraries.",
        "",
    )


def _show_fields(screen: Screen, info: dict[str, Any]) -> None:
    """The payload indexes: those that were asked for, and those that fields got by themselves."""
    from vecdb.payload.columns import canonical

    schema = {canonical(path): index for path, index in info["payload_schema"].items()}
    if not info["columns"]:
        return
    screen.line()
    screen.table(
        ["payload index", "type", "points in files", "on disk"],
        [
            [
                field,
                schema[field]["data_type"] if field in schema else "automatic",
                f"{column['points']:,}",
                size(column["bytes"]),
            ]
            for field, column in sorted(info["columns"].items())
        ],
        left=2,
        indent="  ",
    )


def _show_index(
    screen: Screen, segment: dict[str, Any], name: str, index: dict[str, Any], recall: float
) -> None:
    """The index of one named vector, and what a search does for each recall."""
    of = f"segment {_short(segment)}" + (f", {name}" if name else "")
    efforts = index["efforts"]
    # The last line is for a recall that no line before it reaches: sketches are not used, see
    # scan.py. It fills up a shorter table, so it may be there more than once.
    last = efforts[-1]
    usual = next((effort for effort in efforts if effort["recall"] >= recall), last)
    shown = [effort for effort in efforts if effort["recall"] in _RECALLS or effort is usual]
    screen.line()
    screen.line(
        f"  index of {of}: {count(index['partitions'], 'partition')}, "
        f"{index['bytes_per_vector']:g} bytes a vector"
    )
    figures = [
        ("-", "-", f"{e['rows']:,}")
        if e == last
        else (f"{e['rows']:,}", f"{e['candidates']:,}", f"{e['survivors'] or e['candidates']:,}")
        for e in shown
    ]
    sketches, candidates, originals = zip(*figures, strict=True)
    screen.table(
        ["recall (* default)", *(_recall(effort, usual) for effort in shown)],
        [
            ["rows by sketches", *sketches],
            ["candidates", *candidates],
            ["by originals", *originals],
        ],
        indent="  ",
    )
    if usual == last:
        screen.paragraph(
            f"Sketches were not found to reach {recall:g} here: searches that ask for no less "
            f"score all originals.",
            "  ",
        )


def _recall(effort: dict[str, Any], usual: dict[str, Any]) -> str:
    return f"{effort['recall']:g}" + ("*" if effort is usual else "")


def _short(segment: dict[str, Any]) -> str:
    return segment["id"].lstrip("0") or "0"


def _vectors(config: dict[str, Any]) -> Iterator[str]:
    vectors = config["params"]["vectors"]
    named = {"": vectors} if "size" in vectors and isinstance(vectors["size"], int) else vectors
    for name, params in named.items():
        wanted = params.get("quantization_config") or config.get("quantization_config") or {}
        methods = ", ".join(f"{kind} quantization" for kind in wanted) or "not quantized"
        prefix = f"{name}: " if name else ""
        yield f"{prefix}{params['size']}-d {params['distance']}, {methods}"


def _segment_rows(segment: dict[str, Any]) -> Iterator[list[str]]:
    """One row a named vector; the segment's own figures stand in the first only. One row if there
    are no vectors."""
    own = [
        _short(segment),
        segment["kind"],
        f"{segment['points']:,}",
        f"{segment['deleted']:,}",
    ]
    for name, vector in segment["vectors"].items():
        yield [
            *own,
            name or "-",
            f"{size(vector['bytes'])} {vector['placement']}",
            vector["quantization"] or "no",
            vector["codes_placement"] or "-",
        ]
        own = ["", "", "", ""]
    if not segment["vectors"]:
        yield [*own, "-", "-", "-", "-"]
