"""The verbs of ``Collection`` that change it, with its name first, as ``VecDB`` has them.

Not written by hand: ``python docs/make_verbs.py`` makes this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import isfunction
from typing import Any

from vecdb import models, qdrant_arguments
from vecdb.collection import Collection
from vecdb.engine.database import Database
from vecdb.qdrant_arguments import OfPoints, Unpack


class WritingVerbs:
    """One method for each verb of ``Collection`` that changes it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collection(self, collection_name: str) -> Collection:
        """A handle with the same verbs and no name argument. Raises NotFoundError, and for a
        collection in ``damaged`` its error."""
        return Collection(self._database, self._database.store(collection_name))

    def upsert(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.upsert", qdrant)
        return self.collection(collection_name).upsert(
            points=points, wait=wait, update_filter=update_filter, update_mode=update_mode
        )

    def upload_points(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.upload_points", qdrant)
        self.collection(collection_name).upload_points(
            points=points,
            batch_size=batch_size,
            parallel=parallel,
            max_retries=max_retries,
            wait=wait,
            progress=progress,
            update_filter=update_filter,
            update_mode=update_mode,
        )

    def upload_collection(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.upload_collection", qdrant)
        self.collection(collection_name).upload_collection(
            vectors=vectors,
            payload=payload,
            ids=ids,
            batch_size=batch_size,
            parallel=parallel,
            max_retries=max_retries,
            wait=wait,
            progress=progress,
            update_filter=update_filter,
            update_mode=update_mode,
        )

    def delete(
        self,
        collection_name: str,
        points_selector: models.SelectorInput,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Remove points: a list of ids, ``PointIdsList``, ``Filter`` or ``FilterSelector``.

        Ids that do not exist are fine. The result's ``deleted`` is how many points there were. The
        space comes back by itself.
        """
        qdrant_arguments.check("VecDB.delete", qdrant)
        return self.collection(collection_name).delete(points_selector=points_selector, wait=wait)

    def set_payload(
        self,
        collection_name: str,
        payload: dict[str, Any],
        points: models.SelectorInput,
        key: str | None = None,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Merge ``payload`` into that of the points, at the path ``key`` if given.

        Raises NotFoundError, and changes no point, if one of the ids does not exist.
        """
        qdrant_arguments.check("VecDB.set_payload", qdrant)
        return self.collection(collection_name).set_payload(
            payload=payload, points=points, key=key, wait=wait
        )

    def overwrite_payload(
        self,
        collection_name: str,
        payload: dict[str, Any],
        points: models.SelectorInput,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Replace the points' payload. Raises NotFoundError as ``Collection.set_payload`` does."""
        qdrant_arguments.check("VecDB.overwrite_payload", qdrant)
        return self.collection(collection_name).overwrite_payload(
            payload=payload, points=points, wait=wait
        )

    def delete_payload(
        self,
        collection_name: str,
        keys: Sequence[str],
        points: models.SelectorInput,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Remove these keys (paths such as ``a.b`` too) from the points' payload.

        Raises NotFoundError as ``Collection.set_payload`` does; a missing key is fine.
        """
        qdrant_arguments.check("VecDB.delete_payload", qdrant)
        return self.collection(collection_name).delete_payload(keys=keys, points=points, wait=wait)

    def clear_payload(
        self,
        collection_name: str,
        points_selector: models.SelectorInput,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Remove the points' whole payload.

        Raises NotFoundError as ``Collection.set_payload`` does.
        """
        qdrant_arguments.check("VecDB.clear_payload", qdrant)
        return self.collection(collection_name).clear_payload(
            points_selector=points_selector, wait=wait
        )

    def update_vectors(
        self,
        collection_name: str,
        points: models.PointVectorsInput,
        wait: bool = True,
        update_filter: models.FilterInput | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Replace vectors of existing points: a list of ``PointVectors``; the rest stays.

        ``update_filter``: only of points that match. Raises NotFoundError, and changes no point, if
        one of them does not exist.
        """
        qdrant_arguments.check("VecDB.update_vectors", qdrant)
        return self.collection(collection_name).update_vectors(
            points=points, wait=wait, update_filter=update_filter
        )

    def delete_vectors(
        self,
        collection_name: str,
        vectors: Sequence[str],
        points: models.SelectorInput,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """Take the vectors of these names from the points; the points stay.

        Raises NotFoundError as ``Collection.set_payload`` does; a point without them is fine.
        """
        qdrant_arguments.check("VecDB.delete_vectors", qdrant)
        return self.collection(collection_name).delete_vectors(
            vectors=vectors, points=points, wait=wait
        )

    def batch_update_points(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.batch_update_points", qdrant)
        return self.collection(collection_name).batch_update_points(
            update_operations=update_operations, wait=wait
        )

    def create_payload_index(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.create_payload_index", qdrant)
        return self.collection(collection_name).create_payload_index(
            field_name=field_name, field_schema=field_schema, field_type=field_type, wait=wait
        )

    def delete_payload_index(
        self, collection_name: str, field_name: str, wait: bool = True, **qdrant: Unpack[OfPoints]
    ) -> models.UpdateResult:
        """Take the index of a field away, also one that it got by itself; fine if there is none.
        Its files are removed."""
        qdrant_arguments.check("VecDB.delete_payload_index", qdrant)
        return self.collection(collection_name).delete_payload_index(
            field_name=field_name, wait=wait
        )

    def create_vector_name(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.create_vector_name", qdrant)
        return self.collection(collection_name).create_vector_name(
            vector_name=vector_name, vector_name_config=vector_name_config, wait=wait
        )

    def delete_vector_name(
        self, collection_name: str, vector_name: str, wait: bool = True, **qdrant: Unpack[OfPoints]
    ) -> models.UpdateResult:
        """Take a vector, and all that points have of it, from the collection. The points stay, and
        the space comes back at once. Fine if there is none of that name. Without the last one the
        collection goes on with ids and payloads."""
        qdrant_arguments.check("VecDB.delete_vector_name", qdrant)
        return self.collection(collection_name).delete_vector_name(
            vector_name=vector_name, wait=wait
        )


for _verb in vars(WritingVerbs).values():
    if isfunction(_verb):  # what Python calls it, when it is called with wrong arguments
        _verb.__qualname__ = f"VecDB.{_verb.__name__}"
