"""Routes: which requests mean which operation.

A path is taken apart before it is decoded, so that a slash that is written ``%2F`` stays in the
name it belongs to. Slashes too many are forgiven, as Qdrant does.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from msgspec import Struct

from vecdb.server.operations import OPERATIONS
from vecdb.server.status import WRONG, Refusal
from vecdb.server.table import Operation

_C = "/collections/{collection_name}"
_SHARD = f"{_C}/shards/{{shard_id}}"

_TABLE = f"""
GET    /                                          root
GET    /healthz                                   health
GET    /livez                                     health
GET    /readyz                                    readiness
GET    /openapi.json                              describe
GET    /telemetry                                 telemetry
GET    /metrics                                   metrics
GET    /issues                                    list_issues
DELETE /issues                                    clear_issues
GET    /quotas                                    get_quotas
PUT    /quotas                                    set_quotas
GET    /cluster                                   cluster_status
GET    /cluster/telemetry                         cluster_telemetry
POST   /cluster/recover                           recover_cluster
DELETE /cluster/peer/{{peer_id}}                  remove_peer
GET    /collections                               list_collections
POST   /collections/aliases                       update_aliases
GET    /aliases                                   list_aliases
GET    {_C}                                       get_collection
PUT    {_C}                                       create_collection
PATCH  {_C}                                       update_collection
DELETE {_C}                                       delete_collection
GET    {_C}/exists                                collection_exists
GET    {_C}/aliases                               list_collection_aliases
PUT    {_C}/index                                 create_payload_index
DELETE {_C}/index/{{field_name}}                  delete_payload_index
PUT    {_C}/vectors/{{vector_name}}               create_vector_name
DELETE {_C}/vectors/{{vector_name}}               delete_vector_name
GET    {_C}/cluster                               collection_cluster
POST   {_C}/cluster                               update_collection_cluster
GET    {_C}/shards                                list_shard_keys
PUT    {_C}/shards                                create_shard_key
POST   {_C}/shards/delete                         delete_shard_key
GET    {_C}/optimizations                         optimizations
GET    {_C}/memory                                memory
PUT    {_C}/points                                upsert
POST   {_C}/points                                retrieve
GET    {_C}/points/{{id}}                         get_point
POST   {_C}/points/delete                         delete
PUT    {_C}/points/vectors                        update_vectors
POST   {_C}/points/vectors/delete                 delete_vectors
POST   {_C}/points/payload                        set_payload
PUT    {_C}/points/payload                        overwrite_payload
POST   {_C}/points/payload/delete                 delete_payload
POST   {_C}/points/payload/clear                  clear_payload
POST   {_C}/points/batch                          batch_update
POST   {_C}/points/scroll                         scroll
POST   {_C}/points/count                          count
POST   {_C}/points/query                          query
POST   {_C}/points/query/batch                    query_batch
POST   {_C}/points/query/groups                   query_groups
POST   {_C}/points/search                         search
POST   {_C}/points/search/batch                   search_batch
POST   {_C}/points/search/groups                  search_groups
POST   {_C}/points/search/matrix/pairs            search_matrix_pairs
POST   {_C}/points/search/matrix/offsets          search_matrix_offsets
POST   {_C}/points/recommend                      recommend
POST   {_C}/points/recommend/batch                recommend_batch
POST   {_C}/points/recommend/groups               recommend_groups
POST   {_C}/points/discover                       discover
POST   {_C}/points/discover/batch                 discover_batch
POST   {_C}/facet                                 facet
GET    {_C}/snapshots                             list_snapshots
POST   {_C}/snapshots                             create_snapshot
POST   {_C}/snapshots/upload                      upload_snapshot
PUT    {_C}/snapshots/recover                     recover_snapshot
GET    {_C}/snapshots/{{snapshot_name}}           download_snapshot
DELETE {_C}/snapshots/{{snapshot_name}}           delete_snapshot
GET    {_SHARD}/snapshots                         list_snapshots
POST   {_SHARD}/snapshots                         create_snapshot
POST   {_SHARD}/snapshots/upload                  upload_snapshot
PUT    {_SHARD}/snapshots/recover                 recover_snapshot
GET    {_SHARD}/snapshots/{{snapshot_name}}       download_snapshot
DELETE {_SHARD}/snapshots/{{snapshot_name}}       delete_snapshot
GET    /snapshots                                 list_full_snapshots
POST   /snapshots                                 create_full_snapshot
GET    /snapshots/{{snapshot_name}}               download_full_snapshot
DELETE /snapshots/{{snapshot_name}}               delete_full_snapshot
GET    /vecdb/collections                         overview
GET    /vecdb{_C}                                 inspect
GET    /vecdb{_C}/memory                          memory_report
POST   /vecdb{_C}/explain                         explain
POST   /vecdb{_C}/points/within                   within
"""


class Route(Struct, frozen=True, eq=False):
    """One method of one path."""

    method: str
    path: str
    operation: Operation
    names: tuple[tuple[int, str], ...]
    """Which segments of a path are parameters, and whose."""

    @property
    def endpoint(self) -> str:
        """What it is called in telemetry."""
        return f"{self.method} {self.path}"


class _Node:
    """A path so far: what may follow, and what it means if nothing does."""

    def __init__(self) -> None:
        self.words: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.routes: dict[str, Route] = {}


_FIELDS = {"collection_name": "collection", "shard_id": "shard"}
"""Of a call, the fields of parameters; all others are its item."""


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _read_table() -> tuple[Route, ...]:
    routes = []
    for line in _TABLE.strip().splitlines():
        method, path, name = line.split()
        parameters = tuple(
            (at, _FIELDS.get(segment[1:-1], "item"))
            for at, segment in enumerate(_segments(path))
            if segment.startswith("{")
        )
        routes.append(Route(method, path, OPERATIONS[name], parameters))
    return tuple(routes)


ROUTES = _read_table()


def _tree() -> _Node:
    root = _Node()
    for route in ROUTES:
        node = root
        for segment in _segments(route.path):
            if segment.startswith("{"):
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.words.setdefault(segment, _Node())
        node.routes[route.method] = route
    return root


_ROOT = _tree()


def find(method: str, path: str) -> tuple[Route | None, dict[str, Any], bool]:
    """The route of a request and its parameters; and, if there is none, whether the path has
    another method. ``path`` is as it came, not decoded. Raises Refusal."""
    segments = [segment for segment in path.split("/") if segment]
    route, known = _walk(_ROOT, segments, 0, method)
    if route is None:
        return None, {}, known
    return route, {name: _decoded(segments[at]) for at, name in route.names}, True


def _walk(node: _Node, segments: list[str], at: int, method: str) -> tuple[Route | None, bool]:
    if at == len(segments):
        return node.routes.get(method), bool(node.routes)
    known = False
    word = node.words.get(segments[at])
    if word is not None:
        route, known = _walk(word, segments, at + 1, method)
        if route is not None:
            return route, True
    if node.any is not None:
        route, other = _walk(node.any, segments, at + 1, method)
        return route, known or other
    return None, known


def _decoded(segment: str) -> str:
    if "%" not in segment:
        return segment
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise Refusal(WRONG, "Deserialize error in path parameters: not UTF-8") from None


def parameters_of(route: Route) -> list[dict[str, Any]]:
    """The names in a route's path, as a description has them."""
    return [
        {"name": segment[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for segment in _segments(route.path)
        if segment.startswith("{")
    ]
