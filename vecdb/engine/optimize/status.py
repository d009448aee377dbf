"""Status: what a collection is made of, whether it is well, and what the optimizer has to do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vecdb import models
from vecdb.engine.columns import fields_of
from vecdb.engine.optimize.optimizer import next_step
from vecdb.engine.read import masks
from vecdb.engine.read.segment.codes import describe
from vecdb.engine.schema import Schema, VectorSchema, dense_by_name
from vecdb.engine.statistics import kept_columns
from vecdb.engine.store import Store
from vecdb.engine.view import SegmentView, View
from vecdb.errors import CorruptionError
from vecdb.models.payload_schema import type_of
from vecdb.storage.derived import Index
from vecdb.storage.format import count_set
from vecdb.vectors.datatypes import INDICES, STORED


def collection_info(store: Store) -> models.CollectionInfo:
    """What ``get_collection`` returns."""
    with store.write:
        view = store.view
        indexed = sum(
            state.live * len(state.segment.searched_by_index) for state in store.files.values()
        )
        failure, error = store.failure, store.optimizer.error
        last = store.next_seq - 1
        damaged = [
            models.DamagedFile(path, detail)
            for state in store.files.values()
            for path, detail in state.segment.damage.items()
        ]
        columns = _columns(store)
    segments = [_segment_info(segment_view, view.schema) for segment_view in view.segments]
    vectors = sum(_vector_count(segment_view) for segment_view in view.segments)
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
        last_operation_id=last,
        config=view.config,
        payload_schema=_payload_schema(view),
        warnings=list(_warnings(view.config)),
        columns=columns,
        segments=segments,
        damaged_files=damaged,
    )


def _warnings(config: models.CollectionConfig) -> Iterator[models.CollectionWarning]:
    """What of a configuration means nothing in Qdrant either."""
    for name, params in dense_by_name(config).items():
        own = params.hnsw_config
        inline = config.hnsw_config.inline_storage
        if own is not None and own.inline_storage is not None:
            inline = own.inline_storage
        if inline and (params.quantization_config or config.quantization_config) is None:
            which = f"vector {name!r}: " if name else ""
            text = "hnsw_config.inline_storage means nothing where there is no quantization"
            yield models.CollectionWarning(f"{which}{text}")


def _payload_schema(view: View) -> dict[str, models.PayloadIndexInfo]:
    """What is said of fields of the payload, and how many points have them."""
    return {
        field: models.PayloadIndexInfo(
            data_type=type_of(schema),
            params=None if isinstance(schema, models.PayloadSchemaType) else schema,
            points=_points_with(view, field),
        )
        for field, schema in (view.config.payload_schema or {}).items()
    }


def _columns(store: Store) -> dict[str, models.ColumnInfo]:
    """What there is of columns. Under the write lock."""
    named = fields_of(store.config, ())
    info = {f: models.ColumnInfo(f not in named, 0, 0) for f in sorted(store.fields)}
    for state in store.files.values():
        for field in kept_columns(state.segment, store.fields):
            info[field].points += state.live
            info[field].bytes += state.segment.columns[field].file_size
    return info


def _points_with(view: View, field: str) -> int:
    """How many points have a value in a field. Whether they have is remembered, so this reads the
    payload of a point once; those of a segment that is damaged are not counted."""
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
    condition = masks.compiled(models.Filter(must_not=[empty]))
    count = 0
    for part in view.segments:
        try:
            count += count_set(masks.matching(view, part, condition))
        except CorruptionError:
            continue
    return count


def _progress(store: Store, pending: str | None) -> models.OptimizerProgress:
    state = store.optimizer
    return models.OptimizerProgress(
        running=state.task,
        rows_done=state.done_rows,
        rows_total=state.total_rows,
        pending=pending,
        completed=state.completed,
    )


def _vector_count(segment_view: SegmentView) -> int:
    live = segment_view.live_offsets()
    count = 0
    for name in segment_view.segment.dims:
        has = segment_view.segment.has(name, live)
        count += len(live) if has is None else int(has.sum())
    return count


def _segment_info(segment_view: SegmentView, schema: Schema) -> models.SegmentInfo:
    segment = segment_view.segment
    vectors = {}
    for name in segment.dims:
        quantized, many = segment.codes(name), segment.multivectors(name)
        originals = many.tokens if many is not None else segment.vectors(name)
        vectors[name] = models.SegmentVectors(
            bytes=_vector_bytes(segment_view, schema[name]),
            placement=originals.placement if originals is not None else "pinned",
            quantization=describe(quantized),
            codes_placement=quantized.codes.placement if quantized is not None else None,
            index=_index_info(segment.index(name)),
        )
    return models.SegmentInfo(
        id=f"{segment.id:016x}",
        kind=segment.kind,
        points=segment_view.live,
        deleted=segment_view.rows - segment_view.live,
        vectors=vectors,
    )


def _vector_bytes(segment_view: SegmentView, vector: VectorSchema) -> int:
    """Bytes of the numbers of all rows, and of the indices of sparse ones."""
    if not vector.is_ragged:
        return vector.bytes * segment_view.rows
    entries = segment_view.segment.entries(vector.name, np.arange(segment_view.rows))
    of_index = INDICES.itemsize if vector.is_sparse else 0
    return entries * (STORED.itemsize * (1 if vector.is_sparse else vector.size) + of_index)


def _index_info(index: Index | None) -> models.IndexInfo | None:
    if index is None:
        return None
    clustered = index.clustered
    return models.IndexInfo(
        partitions=clustered.clustering.partitions,
        sketch_bytes=index.sketch.header.data_size,
        bytes_per_vector=round(index.file_bytes / max(1, clustered.rows), 1),
        placement=index.sketch.placement,
        efforts=[
            models.SearchEffort(effort.recall, effort.rows, effort.candidates, effort.survivors)
            for effort in clustered.efforts[0]
        ],
    )
