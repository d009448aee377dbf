"""What a collection is made of and where it lives: counts, bytes, placements.

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

from vecdb import models
from vecdb.engine.optimize.optimizer import next_step
from vecdb.engine.read.segment.scan import describe
from vecdb.engine.store import Store
from vecdb.storage import layout
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import DATA
from vecdb.storage.segment import Index

FIGURES = ("file", "anonymous", "mapped", "resident")


def memory_report(store: Store, resident: dict[str, int] | None = None) -> dict[str, Any]:
    """Bytes by part, and their ``total``.

    Parts: ``originals``, ``codes``, ``ids`` (with their order and presence bits), ``payload``,
    ``seqs``, ``quantizers``, ``sketches``, ``indexes``, ``manifests``, ``memory_segment``
    (estimated), ``masks``, ``wal``, ``catalog``. ``resident``: what ``resident_by_file`` found.
    """
    if resident is None:
        resident = resident_by_file(store.path)
    with store.write:
        parts = {name: dict.fromkeys(FIGURES, 0) for name in _PARTS}
        for state in store.files.values():
            for file, array in state.segment.parts.items():
                _add(parts[_PART_OF[file.split(".")[0]]], array, resident)
            for edits in state.edits.files:
                _add(parts["payload"], edits.part, resident)
            for bits in (state.alive, state.committed):
                parts["masks"]["anonymous"] += 0 if bits is None else bits.nbytes
        in_memory = [memory.size for memory in store.memories()]
        in_memory += [state.edits.size for state in store.files.values()]
        parts["memory_segment"]["anonymous"] = sum(in_memory)
        parts["wal"]["file"] = store.wal.size
        with suppress(OSError):  # its directory was moved or removed
            parts["catalog"]["file"] = (store.path / layout.CATALOG / DATA).stat().st_size
    return {"parts": parts, "total": _sum(parts.values())}


def memory_reports(root: Path, stores: Iterable[Store]) -> dict[str, Any]:
    """The reports of the ``collections`` in a directory by name, and the ``total`` of all. The
    kernel is asked once: it takes the longer, the more is mapped."""
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
    "originals",
    "codes",
    "quantizers",
    "sketches",
    "indexes",
    "ids",
    "payload",
    "seqs",
    "manifests",
    "masks",
    "memory_segment",
    "wal",
    "catalog",
)
_PART_OF = {
    "vectors": "originals",
    "codes": "codes",
    "quantizer": "quantizers",
    "sketch": "sketches",
    "index": "indexes",
    "ids": "ids",
    "order": "ids",
    "present": "ids",
    "payload": "payload",
    "payload-offsets": "payload",
    "seqs": "seqs",
    "manifest": "manifests",
}


def _add(part: dict[str, int], array: PlacedArray, resident: dict[str, int]) -> None:
    part["file"] += array.file_size
    part["anonymous"] += array.anonymous_size
    if array.placement == "mapped":
        part["mapped"] += array.mapped_size
        part["resident"] += resident.get(str(array.path.resolve()), 0)


def resident_by_file(root: Path) -> dict[str, int]:
    """Resident bytes of every mapping of a file below ``root``, by resolved path."""
    import psutil

    prefix = str(root.resolve()) + os.sep
    found: dict[str, int] = {}
    try:
        maps = psutil.Process().memory_maps(grouped=True)
    except (AttributeError, psutil.Error):  # not on this platform: no figure
        return found
    for entry in maps:
        path = entry.path.removesuffix(" (deleted)")
        if path.startswith(prefix):
            found[path] = found.get(path, 0) + entry.rss
    return found


def collection_info(store: Store) -> models.CollectionInfo:
    """What ``get_collection`` returns."""
    with store.write:
        view = store.view
        indexed = sum(
            state.live * len(state.segment.indexes.keys() | state.segment.companions.keys())
            for state in store.files.values()
        )
        failure, error = store.failure, store.optimizer.error
        damaged = [
            models.DamagedFile(path, detail)
            for state in store.files.values()
            for path, detail in state.segment.damage.items()
        ]
    segments = [_segment_info(store, part) for part in view.segments]
    vectors = sum(_vector_count(part) for part in view.segments)
    pending = next_step(store)
    if failure is not None or error is not None:
        status = models.CollectionStatus.RED
    elif store.optimizer.task is not None:
        status = models.CollectionStatus.YELLOW
    elif pending is not None:
        status = models.CollectionStatus.GREY
    else:
        status = models.CollectionStatus.GREEN
    reason = failure or error
    return models.CollectionInfo(
        status=status,
        optimizer_status="ok" if reason is None else models.OptimizersStatusError(reason),
        optimizer_progress=_progress(store, pending.task if pending is not None else None),
        points_count=view.live,
        vectors_count=vectors,
        indexed_vectors_count=indexed,
        segments_count=len(segments),
        wal_bytes=store.wal.size,
        config=view.config,
        segments=segments,
        damaged_files=damaged,
    )


def _progress(store: Store, pending: str | None) -> models.OptimizerProgress:
    state = store.optimizer
    return models.OptimizerProgress(
        running=state.task,
        rows_done=state.done_rows,
        rows_total=state.total_rows,
        pending=pending,
        completed=state.completed,
    )


def _vector_count(part: Any) -> int:
    live = part.live_offsets()
    count = 0
    for name in part.segment.dims:
        has = part.segment.has(name, live)
        count += len(live) if has is None else int(has.sum())
    return count


def _segment_info(store: Store, part: Any) -> models.SegmentInfo:
    segment = part.segment
    vectors = {}
    for name, dim in segment.dims.items():
        companion = getattr(segment, "companions", {}).get(name)
        places = segment.places[name] if segment.kind == "file" else None
        vectors[name] = models.SegmentVectors(
            bytes=4 * dim * part.rows,
            placement=places.originals if places is not None else "anonymous",
            quantization=describe(companion),
            codes_placement=companion.codes.placement if companion is not None else None,
            index=_index_info(segment, name),
        )
    return models.SegmentInfo(
        id=f"{segment.id:016x}",
        kind=segment.kind,
        points=part.live,
        deleted=part.rows - part.live,
        vectors=vectors,
    )


def _index_info(segment: Any, name: str) -> models.IndexInfo | None:
    index: Index | None = getattr(segment, "indexes", {}).get(name)
    if index is None:
        return None
    files = [layout.vector_file(part, name) for part in ("sketch", "index")]
    file_size = sum(segment.parts[file].file_size for file in files)
    clustered = index.clustered
    return models.IndexInfo(
        partitions=clustered.clustering.partitions,
        sketch_bytes=index.sketch.header.data_size,
        bytes_per_vector=round(file_size / max(1, clustered.rows), 1),
        placement=index.sketch.placement,
        efforts=[
            models.SearchEffort(effort.recall, effort.rows, effort.candidates, effort.survivors)
            for effort in clustered.efforts[0]
        ],
    )
