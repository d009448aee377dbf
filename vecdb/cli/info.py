"""``vecdb info``: what a database holds and where every part lives."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import vecdb
from vecdb.cli.command import DAMAGED, Commands, add_command, keep_log_quiet, path, print_json
from vecdb.cli.terminal import Screen, count, size

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


def _info(arguments: argparse.Namespace) -> int:
    import msgspec

    from vecdb.database import VecDB

    keep_log_quiet()
    collections: dict[str, dict[str, Any]] = {}
    with VecDB(arguments.directory, read_only=True) as db:
        memory = db.memory_report()["collections"]
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
        print_json(document | {"damaged": damaged})
        return code
    screen = Screen()
    total = sum(info["memory"]["total"]["file"] for info in collections.values())
    screen.line(
        f"{screen.bold(where)}: {count(len(collections), 'collection')}, {size(total)} on disk"
    )
    for name, info in collections.items():
        screen.line()
        _show(screen, name, info)
    for name, error in damaged.items():
        screen.line()
        screen.paragraph(f"{name}: cannot be opened: {error}. Next: vecdb check", "")
    return code


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
