"""The verbs of ``Collection`` with the collection's name first, as ``VecDB`` has them.

Not written by hand: ``python docs/make_verbs.py`` makes this file of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import isfunction
from typing import TYPE_CHECKING, Any

from vecdb import models, qdrant_arguments
from vecdb.collection import Collection

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from vecdb.qdrant_arguments import OfPoints


class Verbs:
    """One method for each verb of ``Collection``."""

    def collection(self, collection_name: str) -> Collection:
        """The collection of that name."""
        raise NotImplementedError

    def upsert(
        self,
        collection_name: str,
        points: models.PointsInput,
        wait: bool = True,
        update_filter: models.FilterInput | None = None,
        update_mode: models.UpdateModeInput | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """See ``Collection.upsert``."""
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
        """See ``Collection.upload_points``."""
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
        """See ``Collection.upload_collection``."""
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
        """See ``Collection.delete``."""
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
        """See ``Collection.set_payload``."""
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
        """See ``Collection.overwrite_payload``."""
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
        """See ``Collection.delete_payload``."""
        qdrant_arguments.check("VecDB.delete_payload", qdrant)
        return self.collection(collection_name).delete_payload(keys=keys, points=points, wait=wait)

    def clear_payload(
        self,
        collection_name: str,
        points_selector: models.SelectorInput,
        wait: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.UpdateResult:
        """See ``Collection.clear_payload``."""
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
        """See ``Collection.update_vectors``."""
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
        """See ``Collection.delete_vectors``."""
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
        """See ``Collection.batch_update_points``."""
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
        """See ``Collection.create_payload_index``."""
        qdrant_arguments.check("VecDB.create_payload_index", qdrant)
        return self.collection(collection_name).create_payload_index(
            field_name=field_name, field_schema=field_schema, field_type=field_type, wait=wait
        )

    def delete_payload_index(
        self, collection_name: str, field_name: str, wait: bool = True, **qdrant: Unpack[OfPoints]
    ) -> models.UpdateResult:
        """See ``Collection.delete_payload_index``."""
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
        """See ``Collection.create_vector_name``."""
        qdrant_arguments.check("VecDB.create_vector_name", qdrant)
        return self.collection(collection_name).create_vector_name(
            vector_name=vector_name, vector_name_config=vector_name_config, wait=wait
        )

    def delete_vector_name(
        self, collection_name: str, vector_name: str, wait: bool = True, **qdrant: Unpack[OfPoints]
    ) -> models.UpdateResult:
        """See ``Collection.delete_vector_name``."""
        qdrant_arguments.check("VecDB.delete_vector_name", qdrant)
        return self.collection(collection_name).delete_vector_name(
            vector_name=vector_name, wait=wait
        )

    def retrieve(
        self,
        collection_name: str,
        ids: models.IdsInput,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        **qdrant: Unpack[OfPoints],
    ) -> list[models.Record]:
        """See ``Collection.retrieve``."""
        qdrant_arguments.check("VecDB.retrieve", qdrant)
        return self.collection(collection_name).retrieve(
            ids=ids, with_payload=with_payload, with_vectors=with_vectors
        )

    def scroll(
        self,
        collection_name: str,
        scroll_filter: models.FilterInput | None = None,
        limit: int | None = 10,
        offset: models.IdInput | None = None,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        **qdrant: Unpack[OfPoints],
    ) -> tuple[list[models.Record], int | str | None]:
        """See ``Collection.scroll``."""
        qdrant_arguments.check("VecDB.scroll", qdrant)
        return self.collection(collection_name).scroll(
            scroll_filter=scroll_filter,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
        )

    def count(
        self,
        collection_name: str,
        count_filter: models.FilterInput | None = None,
        exact: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.CountResult:
        """See ``Collection.count``."""
        qdrant_arguments.check("VecDB.count", qdrant)
        return self.collection(collection_name).count(count_filter=count_filter, exact=exact)

    def search(
        self,
        collection_name: str,
        query_vector: models.QueryVectorInput,
        query_filter: models.FilterInput | None = None,
        search_params: models.SearchParamsInput | None = None,
        limit: int | None = 10,
        offset: int | None = None,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        score_threshold: float | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> list[models.ScoredPoint]:
        """See ``Collection.search``."""
        qdrant_arguments.check("VecDB.search", qdrant)
        return self.collection(collection_name).search(
            query_vector=query_vector,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
        )

    def search_batch(
        self, collection_name: str, requests: models.SearchRequestsInput, **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """See ``Collection.search_batch``."""
        qdrant_arguments.check("VecDB.search_batch", qdrant)
        return self.collection(collection_name).search_batch(requests=requests)

    def query_points(
        self,
        collection_name: str,
        query: models.QueryInput | None = None,
        using: str | None = None,
        query_filter: models.FilterInput | None = None,
        search_params: models.SearchParamsInput | None = None,
        limit: int | None = 10,
        offset: int | None = None,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        score_threshold: float | None = None,
        explain: bool = False,
        **qdrant: Unpack[OfPoints],
    ) -> models.QueryResponse:
        """See ``Collection.query_points``."""
        qdrant_arguments.check("VecDB.query_points", qdrant)
        return self.collection(collection_name).query_points(
            query=query,
            using=using,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
            explain=explain,
        )

    def query_batch_points(
        self, collection_name: str, requests: models.QueryRequestsInput, **qdrant: Unpack[OfPoints]
    ) -> list[models.QueryResponse]:
        """See ``Collection.query_batch_points``."""
        qdrant_arguments.check("VecDB.query_batch_points", qdrant)
        return self.collection(collection_name).query_batch_points(requests=requests)


for _verb in vars(Verbs).values():
    if isfunction(_verb):  # what Python calls it, when it is called with wrong arguments
        _verb.__qualname__ = f"VecDB.{_verb.__name__}"
