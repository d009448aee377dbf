"""Writing: the verbs that change a collection, as ``Collection`` has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vecdb import models, qdrant_arguments
from vecdb.engine.database import Database
from vecdb.engine.optimize.columns import write_all_columns
from vecdb.engine.store import Store
from vecdb.engine.write import conditional, edits
from vecdb.engine.write.batch import batch
from vecdb.engine.write.checkpoint import checkpoint_if_full
from vecdb.engine.write.configure import drop_payload_index, set_payload_index
from vecdb.engine.write.upload import (
    ProgressBar,
    batches,
    equal_lengths,
    iterator,
    random_ids,
    require_used,
    size_of_batches,
    take,
    vector_batches,
)
from vecdb.engine.write.vector_names import add_vector_name, remove_vector_name
from vecdb.engine.write.writer import Done, Request, submit_all
from vecdb.errors import ClosedError, InvalidInputError, ReentrantCallError, VecdbError
from vecdb.qdrant_arguments import OfPoints, Unpack


class Writing:
    """The half of ``Collection`` that writes."""

    def __init__(self, database: Database, store: Store) -> None:
        self._database = database
        self._store = store

    # -- points ----------------------------------------------------------------------------

    def upsert(
        self,
        points: models.PointsInput,
        wait: bool = True,
        update_filter: models.FilterInput | None = None,
        update_mode: models.UpdateModeInput | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Write points: a ``Batch``, or a list of ``PointStruct``; existing ids are replaced.

        ``Batch(ids, vectors, payloads)`` takes a ``float32 (n, dim)`` array (or a dict of them,
        by name) as it is; that is the fast way. All of the batch is applied or nothing of it; no
        points are nothing to do.

        ``update_filter``: of points that are there only those that match are replaced.
        ``update_mode``: ``"insert_only"`` replaces no point, ``"update_only"`` writes only points
        that are there. What is there is looked at by the write itself: no other comes in between.

        ``wait`` is accepted for compatibility: a write is always applied when this returns.

        Raises InvalidInputError and NotBegunError (nothing was written), StorageFullError (nothing
        was kept), WriteError (what came of it is known after reopening; till then none is taken).
        """
        qdrant_arguments.check("Collection.upsert", qdrant)
        schema = self._store.schema
        return self._write(*conditional.upsert(schema, points, update_filter, update_mode))

    def upload_points(
        self,
        points: Iterable[models.PointInput],
        batch_size: int = 1000,
        parallel: int = 1,
        max_retries: int = 3,
        wait: bool = True,
        progress: bool = False,
        update_filter: models.FilterInput | None = None,
        update_mode: models.UpdateModeInput | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> None:
        """Write any number of ``PointStruct`` from an iterable, ``batch_size`` at a time.

        ``progress`` shows a bar. ``update_filter`` and ``update_mode`` as in ``Collection.upsert``.
        ``parallel``, ``max_retries`` and ``wait`` are accepted for compatibility. On an error or
        Ctrl-C the batches before it stay written.
        """
        qdrant_arguments.check("Collection.upload_points", qdrant)
        size = size_of_batches(batch_size)
        total = len(points) if isinstance(points, Sequence) else None
        with ProgressBar(progress, total) as advance:
            for batch in batches(points, size):
                self.upsert(batch, wait, update_filter, update_mode)
                advance(len(batch))

    def upload_collection(
        self,
        vectors: models.ManyVectorsInput,
        payload: Iterable[models.Payload | None] | None = None,
        ids: models.IdsInput | None = None,
        batch_size: int = 1000,
        parallel: int = 1,
        max_retries: int = 3,
        wait: bool = True,
        progress: bool = False,
        update_filter: models.FilterInput | None = None,
        update_mode: models.UpdateModeInput | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> None:
        """Write many vectors in batches: an array ``(n, dim)``, a dict of arrays by name, or any
        iterable of vectors.

        ``payload``: one dict (or None) a row; ``ids``: one a row, random UUIDs if not given. Of
        either an endless iterator will do. ``update_filter`` and ``update_mode`` as in
        ``Collection.upsert``. On an error or Ctrl-C the batches before it stay.
        """
        qdrant_arguments.check("Collection.upload_collection", qdrant)
        size = size_of_batches(batch_size)
        total = equal_lengths(vectors, payload, ids)
        id_stream = iterator(ids, "ids") if ids is not None else random_ids()
        payloads = iterator(payload, "payload") if payload is not None else None
        done = 0
        with ProgressBar(progress, total) as advance:
            for part, count in vector_batches(vectors, size):
                part_ids = take(id_stream, count, done, "ids")
                part_payloads = None if payloads is None else take(payloads, count, done, "payload")
                rows = models.Batch(ids=part_ids, vectors=part, payloads=part_payloads)
                self.upsert(rows, wait, update_filter, update_mode)
                done += count
                advance(count)
        require_used(ids, done, "ids")
        require_used(payload, done, "payload")

    def delete(
        self, points_selector: models.SelectorInput, wait: bool = True, **qdrant: Unpack[OfPoints]
    ) -> models.UpdateResult:
        """Remove points: a list of ids, ``PointIdsList``, ``Filter`` or ``FilterSelector``.

        Ids that do not exist are fine. The result's ``deleted`` is how many points there were. The
        space comes back by itself.
        """
        qdrant_arguments.check("Collection.delete", qdrant)
        return self._write(edits.delete(points_selector))

    def set_payload(
        self,
        payload: dict[str, Any],
        points: models.SelectorInput,
        key: str | None = None,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Merge ``payload`` into that of the points, at the path ``key`` if given.

        Raises NotFoundError, and changes no point, if one of the ids does not exist.
        """
        qdrant_arguments.check("Collection.set_payload", qdrant)
        return self._write(edits.set_payload(payload, points, key))

    def overwrite_payload(
        self,
        payload: dict[str, Any],
        points: models.SelectorInput,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Replace the points' payload. Raises NotFoundError as ``Collection.set_payload`` does."""
        qdrant_arguments.check("Collection.overwrite_payload", qdrant)
        return self._write(edits.overwrite_payload(payload, points))

    def delete_payload(
        self,
        keys: Sequence[str],
        points: models.SelectorInput,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Remove these keys (paths such as ``a.b`` too) from the points' payload.

        Raises NotFoundError as ``Collection.set_payload`` does; a missing key is fine.
        """
        qdrant_arguments.check("Collection.delete_payload", qdrant)
        return self._write(edits.delete_payload(keys, points))

    def clear_payload(
        self, points_selector: models.SelectorInput, wait: bool = True, **qdrant: Unpack[OfPoints]
    ) -> models.UpdateResult:
        """Remove the points' whole payload.

        Raises NotFoundError as ``Collection.set_payload`` does.
        """
        qdrant_arguments.check("Collection.clear_payload", qdrant)
        return self._write(edits.clear_payload(points_selector))

    def update_vectors(
        self,
        points: models.PointVectorsInput,
        wait: bool = True,
        update_filter: models.FilterInput | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Replace vectors of existing points: a list of ``PointVectors``; the rest stays.

        ``update_filter``: only of points that match. Raises NotFoundError, and changes no point, if
        one of them does not exist.
        """
        qdrant_arguments.check("Collection.update_vectors", qdrant)
        if update_filter is None:
            return self._write(edits.update_vectors(self._store.schema, points))
        return self._write(conditional.update_vectors(self._store.schema, points, update_filter))

    def delete_vectors(
        self,
        vectors: Sequence[str],
        points: models.SelectorInput,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Take the vectors of these names from the points; the points stay.

        Raises NotFoundError as ``Collection.set_payload`` does; a point without them is fine.
        """
        qdrant_arguments.check("Collection.delete_vectors", qdrant)
        return self._write(edits.delete_vectors(self._store.schema, vectors, points))

    def batch_update_points(
        self,
        update_operations: models.UpdateOperationsInput,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> list[models.UpdateResult]:
        """Several operations as one write: ``UpsertOperation``, ``DeleteOperation``,
        ``SetPayloadOperation``, ``OverwritePayloadOperation``, ``DeletePayloadOperation``,
        ``ClearPayloadOperation``, ``UpdateVectorsOperation``, ``DeleteVectorsOperation``.

        Each sees what those before it have done. All of them are applied or, if one cannot be or
        the power fails, none; nobody sees some of them without the others. A result for each.
        Raises as the verbs do, and names the operation.
        """
        qdrant_arguments.check("Collection.batch_update_points", qdrant)
        given = batch(self._store.schema, update_operations)
        return self._write_each(given.requests, given.ends)

    def _write(self, *requests: Request) -> models.UpdateResult:
        return self._write_each(requests, [len(requests)])[0]

    def _write_each(
        self, requests: Sequence[Request], ends: Sequence[int]
    ) -> list[models.UpdateResult]:
        """Make requests true as one write; a result for those up to each end."""
        self._database.check_usable()
        done = submit_all(self._store, requests) if requests else []
        self._written()
        return self._results(done, ends)

    def _results(self, done: Sequence[Done], ends: Sequence[int]) -> list[models.UpdateResult]:
        results = []
        for start, end in zip((0, *ends), ends, strict=False):
            counts = [each.deleted for each in done[start:end] if each.deleted is not None]
            results.append(self._completed(done[end - 1].seq, sum(counts) if counts else None))
        return results

    def _written(self) -> None:
        """What is to be done after a write."""
        try:
            checkpoint_if_full(self._store)
        except ReentrantCallError:
            raise
        except (OSError, VecdbError) as error:
            # The write itself is in the WAL; the optimizer tries the checkpoint again.
            self._store.optimizer.failed("checkpoint", error)
        self._store.changed()

    def _completed(self, seq: int, deleted: int | None = None) -> models.UpdateResult:
        return models.UpdateResult(seq, models.UpdateStatus.COMPLETED, deleted)

    # -- payload indexes -------------------------------------------------------------------

    def create_payload_index(
        self,
        field_name: str,
        field_schema: models.FieldSchemaInput | None = None,
        field_type: models.FieldSchemaInput | None = None,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Give a field of the payload an index: a path such as ``a.b``, and a
        ``PayloadSchemaType`` or the parameters of one, as ``KeywordIndexParams``.

        Filters mean the same with it, and are faster; an index of texts also says what a token is.
        It is kept with the collection's configuration, and shown in ``payload_schema``; a schema of
        the field that there was is replaced. Returns when all segments in files have their column
        of the field; ``wait=False`` leaves that to the optimizer. ``field_type`` is the older name
        of ``field_schema``. Raises InvalidInputError.
        """
        qdrant_arguments.check("Collection.create_payload_index", qdrant)
        if field_schema is not None and field_type is not None:
            raise InvalidInputError("field_type: is field_schema's older name; give one of them")
        self._database.check_usable()
        schema = field_type if field_schema is None else field_schema
        set_payload_index(self._store, field_name, schema)
        if wait:
            self._write_columns()
        self._store.changed()
        return self._configured()

    def _write_columns(self) -> None:
        try:
            write_all_columns(self._store)
        except (ClosedError, ReentrantCallError):
            raise
        except (OSError, VecdbError) as error:
            # The index is there, and filters do without columns; the optimizer tries again.
            self._store.optimizer.failed("columns", error)

    def delete_payload_index(
        self, field_name: str, wait: bool = True, **qdrant: Unpack[OfPoints]
    ) -> models.UpdateResult:
        """Take the index of a field away, also one that it got by itself; fine if there is none.
        Its files are removed."""
        qdrant_arguments.check("Collection.delete_payload_index", qdrant)
        self._database.check_usable()
        drop_payload_index(self._store, field_name)
        return self._configured()

    # -- vector names ----------------------------------------------------------------------

    def create_vector_name(
        self,
        vector_name: str,
        vector_name_config: models.VectorNameInput,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Add a vector to the collection: ``DenseVectorNameConfig`` or ``SparseVectorNameConfig``,
        or its dict, such as ``{"dense": {"size": 384, "distance": "Cosine"}}`` or ``{"sparse":
        {"modifier": "idf"}}``. The points that there are lack it.

        Fine if there is one like it. No segment is written anew for it. Raises InvalidInputError if
        the name is another's.
        """
        qdrant_arguments.check("Collection.create_vector_name", qdrant)
        self._database.check_usable()
        add_vector_name(self._store, vector_name, vector_name_config)
        self._store.changed()
        return self._configured()

    def delete_vector_name(
        self, vector_name: str, wait: bool = True, **qdrant: Unpack[OfPoints]
    ) -> models.UpdateResult:
        """Take a vector, and all that points have of it, from the collection. The points stay, and
        the space comes back at once. Fine if there is none of that name. Without the last one the
        collection goes on with ids and payloads."""
        qdrant_arguments.check("Collection.delete_vector_name", qdrant)
        self._database.check_usable()
        remove_vector_name(self._store, vector_name)
        self._store.changed()
        return self._configured()

    def _configured(self) -> models.UpdateResult:
        """A change of the configuration has no number of its own."""
        return self._completed(self._store.next_seq - 1)
