"""Where the bytes of a collection are: on disk, in private memory, mapped, resident.

Four figures a part: ``file`` (bytes on disk), ``anonymous`` (private memory that only swap can
take back), ``mapped`` (address space backed by the file) and ``resident`` (how much of ``mapped``
is in RAM now, counted by the kernel for this process). ``/proc/self/smaps`` shows the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from vecdb.engine.read import columns, idf, remembered
from vecdb.engine.store import Store
from vecdb.engine.view import Segment
from vecdb.storage import layout
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import DATA
from vecdb.storage.files import BY_KIND, FILES
from vecdb.storage.payload_edits import EditsFile, PayloadEdits

FIGURES = ("file", "anonymous", "mapped", "resident")


def memory_report(store: Store, resident: dict[str, int] | None = None) -> dict[str, Any]:
    """Bytes by part, and their ``total``; and by vector name those of its files, by part.

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
        parts = {name: dict.fromkeys(FIGURES, 0) for name in _PARTS}
        for state in store.files.values():
            arrays = [
                *state.segment.arrays.values(),
                *(edits.opened for edits in state.edits.files),
            ]
            for array in arrays:
                _add(parts[BY_KIND[array.header.kind].part], array, resident)
            for bits in (state.alive, state.committed):
                parts["masks"]["anonymous"] += 0 if bits is None else bits.nbytes
        in_memory = [memory.size for memory in store.memories()]
        in_memory += [state.edits.size for state in store.files.values()]
        parts["memory_segment"]["anonymous"] = sum(in_memory)
        parts["filters"]["anonymous"] = sum(map(remembered.private_bytes, _held(store)))
        segments: list[Segment] = [*store.memories()]
        segments += [state.segment for state in store.files.values()]
        parts["frequencies"]["anonymous"] = sum(map(idf.private_bytes, segments))
        parts["columns"]["anonymous"] = sum(map(columns.private_bytes, _held(store)))
        parts["wal"]["file"] = store.wal.size
        with suppress(OSError):  # its directory was moved or removed
            parts["catalog"]["file"] = (store.path / layout.CATALOG / DATA).stat().st_size
        named = {name: _of_vector(store, name, resident) for name in store.schema}
    return {"parts": parts, "total": _sum(parts.values()), "vectors": named}


def _of_vector(store: Store, name: str, resident: dict[str, int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for kind in (file for file in FILES if file.per == "vector"):
        for state in store.files.values():
            array = state.segment.arrays.get(kind.file(name))
            if array is not None:
                _add(found.setdefault(kind.part, dict.fromkeys(FIGURES, 0)), array, resident)
    return found


def _held(store: Store) -> Iterator[Segment | PayloadEdits | EditsFile]:
    """What has payloads."""
    for memory in store.memories():
        yield memory
        yield memory.edits
    for state in store.files.values():
        yield state.segment
        yield state.edits
        yield from state.edits.files


def memory_reports(root: Path, stores: Iterable[Store]) -> dict[str, Any]:
    """The reports of all collections in a directory by name, and their ``total``. The kernel is
    asked only once: an answer takes longer the more is mapped."""
    resident = resident_by_file(root)
    reports = {store.name: memory_report(store, resident) for store in stores}
    return {"collections": reports, "total": _sum(r["total"] for r in reports.values())}


def _sum(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total = dict.fromkeys(FIGURES, 0)
    for part in parts:
        for figure in FIGURES:
            total[figure] += part[figure]
    return total


_PARTS = (
    *dict.fromkeys(file.part for file in FILES),
    "masks",
    "filters",
    "frequencies",
    "memory_segment",
    "wal",
    "catalog",
)


def _add(part: dict[str, int], array: PlacedArray, resident: dict[str, int]) -> None:
    part["file"] += array.file_size
    part["anonymous"] += array.anonymous_size
    if array.is_mapped:
        part["mapped"] += array.mapped_size
        part["resident"] += resident.get(str(array.path.resolve()), 0)


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
