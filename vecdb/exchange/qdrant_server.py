"""A collection of a Qdrant server, by Qdrant's client over REST or gRPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from grpc import RpcError
from httpx import HTTPError
from pydantic import TypeAdapter, ValidationError
from qdrant_client import QdrantClient
from qdrant_client import models as theirs
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from vecdb.errors import InvalidInputError
from vecdb.exchange.columns import PointId
from vecdb.exchange.sides import Point, dense, sparse
from vecdb.models import (
    CollectionConfig,
    CollectionParams,
    HnswConfig,
    OptimizersConfig,
    WalConfig,
    coerce,
)

_OURS = {"recall", "automatic_indexes"}
"""Settings of the optimizer that Qdrant has not."""


class Server:
    """A connection to a server."""

    def __init__(
        self, url: str, api_key: str | None, prefer_grpc: bool, grpc_port: int, timeout: int
    ) -> None:
        self.url = url
        with self.answering():
            self.client = QdrantClient(
                url=url,
                api_key=api_key,
                prefer_grpc=prefer_grpc,
                grpc_port=grpc_port,
                timeout=timeout,
                check_compatibility=False,
            )

    def close(self) -> None:
        """Close its connections."""
        self.client.close()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A block in which the server is asked: what goes wrong there names it. Raises
        ConnectionError if it does not answer, InvalidInputError if it refuses."""
        try:
            yield
        except UnexpectedResponse as error:
            text = (error.content or b"").decode("utf-8", "replace")
            raise InvalidInputError(f"{self.url}: {error.status_code} {text:.500}") from None
        except (ApiException, HTTPError) as error:
            raise ConnectionError(f"{self.url}: {error}") from None
        except RpcError as error:
            code, text = error.code().name, error.details()
            if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"):
                raise ConnectionError(f"{self.url}: {code} {text}") from None
            raise InvalidInputError(f"{self.url}: {code} {text}") from None
        except ValidationError as error:
            raise InvalidInputError(f"{self.url}: {error}") from None

    def has(self, name: str) -> bool:
        """Whether it has a collection of that name."""
        with self.answering():
            return self.client.collection_exists(name)

    def config(self, name: str) -> CollectionConfig:
        """The configuration of a collection, as vecdb has it. Raises InvalidInputError if vecdb
        cannot have it."""
        with self.answering():
            info = self.client.get_collection(name)
        said = info.config.model_dump(mode="json", exclude_none=True)
        params = said["params"]
        fields = {
            name: value
            for name, value in said.items()
            if name in CollectionConfig.__struct_fields__
        }
        fields["params"] = {k: params[k] for k in CollectionParams.__struct_fields__ if k in params}
        fields["payload_schema"] = {
            field: index.params.model_dump(mode="json", exclude_none=True)
            if index.params is not None
            else index.data_type.value
            for field, index in info.payload_schema.items()
        }
        for part, kind in _PARTS.items():
            known = set(kind.__struct_fields__)
            fields[part] = {k: v for k, v in (said.get(part) or {}).items() if k in known}
        return coerce(CollectionConfig, fields, f"collection {name!r} of {self.url}")

    def create(self, name: str, config: CollectionConfig) -> None:
        """Make an empty collection with this configuration and these payload indexes; of what is as
        vecdb has it by itself, the server decides."""
        said = msgspec.to_builtins(config)
        vectors = said["params"]["vectors"]
        if isinstance(config.params.vectors, dict):
            vectors = {each: _not_pinned(params) for each, params in vectors.items()}
        else:
            vectors = _not_pinned(vectors)
        optimizers = _changed(config.optimizer_config, OptimizersConfig())
        with self.answering():
            self.client.create_collection(
                name,
                vectors_config=_read(theirs.VectorsConfig, vectors),
                sparse_vectors_config=_read(
                    dict[str, theirs.SparseVectorParams] | None,
                    _without_none(said["params"].get("sparse_vectors")),
                ),
                optimizers_config=_read(
                    theirs.OptimizersConfigDiff,
                    {k: v for k, v in optimizers.items() if k not in _OURS},
                ),
                hnsw_config=_read(
                    theirs.HnswConfigDiff, _changed(config.hnsw_config, HnswConfig())
                ),
                wal_config=_read(theirs.WalConfigDiff, _changed(config.wal_config, WalConfig())),
                quantization_config=_read(
                    theirs.QuantizationConfig | None, _without_none(said["quantization_config"])
                ),
                on_disk_payload=config.params.on_disk_payload,
                payload=_read(
                    theirs.PayloadStorageParams | None, _not_pinned(said["params"]["payload"])
                ),
                id_tracker=_read(
                    theirs.IdTrackerParams | None, _without_none(said["params"]["id_tracker"])
                ),
                metadata=config.metadata,
            )
            for field, schema in (config.payload_schema or {}).items():
                given = _read(theirs.PayloadFieldSchema, _without_none(msgspec.to_builtins(schema)))
                self.client.create_payload_index(name, field, given, wait=True)


_PARTS = {"hnsw_config": HnswConfig, "optimizer_config": OptimizersConfig, "wal_config": WalConfig}


def _changed(part: Any, usual: Any) -> dict[str, Any]:
    """What of a part of a configuration is not as usual."""
    before = msgspec.to_builtins(usual)
    after = msgspec.to_builtins(part)
    return {name: value for name, value in after.items() if value != before[name]}


def _not_pinned(params: Any) -> Any:
    """Without ``pinned`` where Qdrant refuses it, of originals and payloads: it says where they are
    then."""
    said = _without_none(params)
    return {k: v for k, v in said.items() if (k, v) != ("memory", "pinned")} if said else None


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    return value


def _read(kind: Any, value: Any) -> Any:
    """A value as the client has it."""
    return TypeAdapter(kind).validate_python(value)


class There:
    """A collection of a server."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name
        self.where = f"collection {name!r} at {server.url}"
        with server.answering():
            params = server.client.get_collection(name).config.params
        given = params.vectors or {}
        vectors = given if isinstance(given, dict) else {"": given}
        self.vectors = {name: dense(each) for name, each in vectors.items()} | {
            name: sparse(each.modifier.value if each.modifier else None)
            for name, each in (params.sparse_vectors or {}).items()
        }

    def count(self) -> int:
        """How many points it has."""
        with self._server.answering():
            return self._server.client.count(self._name, exact=True).count

    def page(self, offset: PointId | None, limit: int) -> tuple[list[Point], PointId | None]:
        """Points in the order of their ids, and the id of the next."""
        with self._server.answering():
            records, next_id = self._server.client.scroll(
                self._name, limit=limit, offset=offset, with_payload=True, with_vectors=True
            )
        return list(map(_point, records)), next_id  # type: ignore[return-value]  # no UUID objects

    def there(self, ids: Sequence[PointId]) -> set[PointId]:
        """Which of these points it has."""
        with self._server.answering():
            records = self._server.client.retrieve(
                self._name, list(ids), with_payload=False, with_vectors=False
            )
        return {record.id for record in records}  # type: ignore[misc]

    def points(self, ids: Sequence[PointId]) -> list[Point]:
        """Those of these points that it has."""
        with self._server.answering():
            records = self._server.client.retrieve(
                self._name, list(ids), with_payload=True, with_vectors=True
            )
        return list(map(_point, records))

    def write(self, points: Sequence[Point]) -> None:
        """Write points; the server has applied them when this returns."""
        given = [
            theirs.PointStruct(id=p.id, vector=_their_vectors(p.vector), payload=p.payload)
            for p in points
        ]
        with self._server.answering():
            self._server.client.upsert(self._name, given, wait=True)

    def best_scores(self, vector: Any, using: str, limit: int) -> list[float]:
        """The scores of the points nearest to a vector, found by an exact search, best first."""
        with self._server.answering():
            found = self._server.client.query_points(
                self._name,
                query=_their_vector(vector),
                using=using or None,
                limit=limit,
                search_params=theirs.SearchParams(exact=True),
                with_payload=False,
            )
        return [point.score for point in found.points]


def _their_vectors(vector: Any) -> Any:
    """The vectors of a point as the client has them."""
    if isinstance(vector, dict):
        return {name: _their_vector(each) for name, each in vector.items()}
    return _their_vector(vector)


def _their_vector(vector: Any) -> Any:
    """Numbers as they are; of a sparse vector, which a struct is here, the client's."""
    if not isinstance(vector, msgspec.Struct):
        return vector
    return theirs.SparseVector.model_validate(msgspec.to_builtins(vector))


def _point(record: Any) -> Point:
    return Point(record.id, {} if record.vector is None else record.vector, record.payload or {})
