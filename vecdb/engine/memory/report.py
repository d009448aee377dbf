"""Where the bytes of a collection are: on disk, in private memory, mapped, resident.

Four figures a part: ``file`` (bytes on disk), ``anonymous`` (private memory that only swap can
take back), ``mapped`` (address space backed by the file) and ``resident`` (how much of ``mapped``
is in RAM now, counted by the kernel for this process). ``/proc/self/smaps`` shows the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vecdb.engine.memory.explanation import explained
from vecdb.engine.read import columns, idf, remembered
from vecdb.engine.store import FileState, Store
from vecdb.engine.view import Segment
from vecdb.storage import layout
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import DATA
from vecdb.storage.files import BY_KIND, FILES, may_have
from vecdb.storage.memory import MemorySegment
from vecdb.storage.payload_edits import EditsFile, PayloadEdits

FIGURES = ("file", "anonymous", "mapped", "resident")

Figures = dict[str, int]
Parts = dict[str, Figures]


def memory_report(store: Store, resident: dict[str, int] | None = None) -> dict[str, Any]:
    """Bytes by part, and their ``total``; of the ``vectors`` those of each name, by part, and of
    the ``columns`` those of each field; all of that of each of the ``segments``; what was
    ``demoted``; and an ``explanation`` in words.

    Parts: ``originals``, ``codes``, ``ids`` (with their order and presence bits), ``payload``,
    ``columns`` (of payload fields; those of points in memory and of edited payloads are private,
    and estimated), ``seqs``, ``quantizers``, ``sketches``, ``indexes``, ``manifests``, ``masks``,
    ``filters`` (which rows match the filters of late), ``frequencies`` (of the indices of sparse
    vectors, for IDF), ``memory_segment`` (estimated), ``wal``,
    ``catalog``. ``resident``: what ``resident_by_file`` found.
    """
    if resident is None:
        resident = resident_by_file(store.path)
    with store.write:
        segments = [_of_file(state, resident) for state in store.files.values()]
        segments += [_of_memory(memory) for memory in store.memories()]
        parts = {name: _nothing() for name in _PARTS}
        for segment in segments:
            for name, figures in segment["parts"].items():
                _add(parts[name], figures)
        parts["wal"]["file"] = store.wal.size
        with suppress(OSError):  # its directory was moved or removed
            parts["catalog"]["file"] = (store.path / layout.CATALOG / DATA).stat().st_size
        named: dict[str, Parts] = {name: {} for name in store.schema}
        fields: Parts = {}
        for segment in segments:
            for name, of in segment["vectors"].items():
                for part, figures in of.items():
                    _add(named.setdefault(name, {}).setdefault(part, _nothing()), figures)
            for field, figures in segment["columns"].items():
                _add(fields.setdefault(field, _nothing()), figures)
    return {
        "parts": parts,
        "total": _sum(parts.values()),
        "vectors": named,
        "columns": fields,
        "segments": segments,
        "demoted": _demoted(store),
        "explanation": explained(parts),
    }


def _demoted(store: Store) -> list[dict[str, Any]]:
    """The parts that are said to be in memory, and are mapped, as ``memory_limit`` leaves no room
    for them."""
    return [
        {"segment": f"{pin.segment:016x}", "part": pin.part, "of": pin.of, "bytes": pin.size}
        for pin in store.demoted
    ]


def memory_reports(root: Path, stores: Iterable[Store], limit: int | None) -> dict[str, Any]:
    """The reports of all collections in a directory by name, their ``total``, the ``memory_limit``
    in bytes, and the ``process``: what it has in all, and ``own``, what of it is no collection's.
    The kernel is asked only once: an answer takes longer the more is mapped."""
    resident = resident_by_file(root)
    reports = {store.name: memory_report(store, resident) for store in stores}
    total = _sum(report["total"] for report in reports.values())
    return {
        "collections": reports,
        "total": total,
        "memory_limit": limit,
        "process": _process(total),
    }


_PARTS = (
    *dict.fromkeys(file.part for file in FILES),
    "masks",
    "filters",
    "frequencies",
    "memory_segment",
    "wal",
    "catalog",
)


def _of_file(state: FileState, resident: dict[str, int]) -> dict[str, Any]:
    """One file segment: its parts, and those of each vector name."""
    segment, edits = state.segment, state.edits
    parts: Parts = {}
    vectors: dict[str, Parts] = {}
    fields: Parts = {}
    for name, file, of in may_have(segment.row):
        if name in segment.arrays:
            figures = _figures(segment.arrays[name], resident)
            _add(parts.setdefault(file.part, _nothing()), figures)
            if file.per == "vector":
                _add(vectors.setdefault(of, {}).setdefault(file.part, _nothing()), figures)
            elif file.per == "field":
                fields[of] = figures
    for opened in (each.opened for each in edits.files):
        part = BY_KIND[opened.header.kind].part
        _add(parts.setdefault(part, _nothing()), _figures(opened, resident))
    masks = sum(0 if bits is None else bits.nbytes for bits in (state.alive, state.committed))
    private = _private([segment, edits, *edits.files], segment)
    for part, size in {"masks": masks, "memory_segment": edits.size, **private}.items():
        parts.setdefault(part, _nothing())["anonymous"] += size
    return {
        "id": f"{segment.id:016x}",
        "kind": segment.kind,
        "points": state.live,
        "parts": parts,
        "vectors": vectors,
        "columns": fields,
    }


def _of_memory(memory: MemorySegment) -> dict[str, Any]:
    """One memory segment."""
    sizes = {"memory_segment": memory.size, **_private([memory, memory.edits], memory)}
    parts = {part: {**_nothing(), "anonymous": size} for part, size in sizes.items()}
    return {
        "id": f"{memory.id:016x}",
        "kind": memory.kind,
        "points": memory.live,
        "parts": parts,
        "vectors": {},
        "columns": {},
    }


def _private(held: list[Segment | PayloadEdits | EditsFile], segment: Segment) -> dict[str, int]:
    """What reads keep of a segment; ``held``: what of it has payloads."""
    return {
        "filters": sum(map(remembered.private_bytes, held)),
        "frequencies": idf.private_bytes(segment),
        "columns": sum(map(columns.private_bytes, held)),
    }


def _nothing() -> Figures:
    return dict.fromkeys(FIGURES, 0)


def _add(figures: Figures, more: Figures) -> None:
    for figure in FIGURES:
        figures[figure] += more[figure]


def _sum(parts: Iterable[Figures]) -> Figures:
    total = _nothing()
    for part in parts:
        _add(total, part)
    return total


def _figures(array: PlacedArray, resident: dict[str, int]) -> Figures:
    return {
        "file": array.file_size,
        "anonymous": array.anonymous_size,
        "mapped": array.mapped_size,
        "resident": resident.get(str(array.path.resolve()), 0) if array.is_mapped else 0,
    }


def resident_by_file(root: Path) -> dict[str, int]:
    """Resident bytes of every mapping of a file below ``root``, by resolved path."""
    import psutil

    prefix = str(root.resolve()) + os.sep
    resident: dict[str, int] = {}
    try:
        maps = psutil.Process().memory_maps(grouped=True)
    except (AttributeError, psutil.Error):  # not on this platform: no figure
        return resident
    for entry in maps:
        path = entry.path.removesuffix(" (deleted)")
        if path.startswith(prefix):
            resident[path] = resident.get(path, 0) + entry.rss
    return resident


def _process(data: Figures) -> dict[str, Any]:
    """What this process has, as the kernel counts it, and what of it is not the data."""
    import psutil

    memory = psutil.Process().memory_info()
    mapped = getattr(memory, "shared", 0)  # 0: this platform does not say
    anonymous = memory.rss - mapped
    own = {
        "anonymous": max(0, anonymous - data["anonymous"]),
        "resident": max(0, mapped - data["resident"]),
    }
    return {"anonymous": anonymous, "resident": mapped, "own": own}
