"""VecDBLocal: what does the work of a client, in the place of Qdrant's local mode.

Programs look whether a client's ``_client`` is a ``QdrantLocal``, that is, whether there is a
server; so it is one, of which every verb is replaced. A verb goes to the one of ``VecDB`` with the
same name, by keyword; few need more than that and are written out.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from qdrant_client.local.qdrant_local import QdrantLocal

from vecdb.errors import ClosedError, ReentrantCallError
from vecdb.qdrant import arguments
from vecdb.qdrant.answers import as_qdrants
from vecdb.qdrant.errors import NotSupported, raised_as_there
from vecdb.qdrant.opening import MEMORY, Opened

# Uploads are written in batches, each of which is one write to disk. Qdrant's client makes them for
# a network, 64 points each.
_BATCH = 1000


class VecDBLocal(QdrantLocal):
    """The verbs of one client, on an open database. Closed by ``close``, or as soon as nothing
    refers to it."""

    def __init__(self, opened: Opened) -> None:
        # Not QdrantLocal's: that would open, and make, files of its own.
        database = opened.database
        self.database = database
        self.location = MEMORY if opened.key is None else str(database.path)
        self.persistent = opened.key is not None
        self.force_disable_check_same_thread = False
        self._opened = opened
        self._closed = False
        self._keep()

    def _keep(self) -> None:
        self._opened.owner = weakref.ref(self)
        self._let_go = weakref.finalize(self, self._opened.abandon)
        self._let_go.atexit = False  # the database closes itself

    def close(self, **qdrant: Any) -> None:
        """Close the database, if no other client shares it. May be repeated."""
        if self._let_go.detach() is None:  # done already
            return
        self._closed = True
        try:
            self._opened.release()
        except ReentrantCallError:
            self._closed = False
            self._keep()
            raise

    def call(self, verb: str, /, *positional: Any, **given: Any) -> Any:
        """What the verb of ``VecDB`` answers, as Qdrant's objects. Raises NotSupported if there is
        no such verb."""
        collection_name = positional[0] if positional else given.get("collection_name")
        with raised_as_there(collection_name):
            if self._closed:  # though other clients may have the database open
                raise ClosedError("this client is closed. Please make a new one")
            method = getattr(self.database, verb, None)
            if method is None:
                raise NotSupported(f"{verb}: not supported by vecdb")
            return as_qdrants(method(*positional, **arguments.fitting(method, given)))

    def upsert(self, collection_name: str, points: Any, **given: Any) -> Any:  # type: ignore[override]
        """As ``VecDB.upsert``."""
        return self.call("upsert", collection_name, points=arguments.points(points), **given)

    def upload_points(self, collection_name: str, points: Iterable[Any], **given: Any) -> None:  # type: ignore[override]
        """As ``VecDB.upload_points``, in batches of a thousand or more."""
        points = arguments.with_vectors(points)
        self.call("upload_points", collection_name, points=points, **_in_batches(given))

    def upload_records(self, collection_name: str, records: Iterable[Any], **given: Any) -> None:
        """An older name of ``upload_points``."""
        self.upload_points(collection_name, records, **given)

    def upload_collection(self, collection_name: str, vectors: Any, **given: Any) -> None:  # type: ignore[override]
        """As ``VecDB.upload_collection``, in batches of a thousand or more."""
        self.call("upload_collection", collection_name, vectors=vectors, **_in_batches(given))

    def create_collection(  # type: ignore[override]
        self, collection_name: str, vectors_config: Any = None, **given: Any
    ) -> Any:
        """As ``VecDB.create_collection``."""
        config = arguments.vectors_config(vectors_config)
        return self.call("create_collection", collection_name, vectors_config=config, **given)

    def recreate_collection(  # type: ignore[override]
        self, collection_name: str, vectors_config: Any = None, **given: Any
    ) -> Any:
        """As ``VecDB.recreate_collection``."""
        config = arguments.vectors_config(vectors_config)
        return self.call("recreate_collection", collection_name, vectors_config=config, **given)

    def create_payload_index(
        self,
        collection_name: str,
        field_name: str,
        field_schema: Any = None,
        field_type: Any = None,
        **given: Any,
    ) -> Any:
        """As ``VecDB.create_payload_index``; ``field_schema`` was once called ``field_type``."""
        schema = field_type if field_schema is None else field_schema
        given |= {"field_name": field_name, "field_schema": schema}
        return self.call("create_payload_index", collection_name, **given)


def _in_batches(given: dict[str, Any]) -> dict[str, Any]:
    size = given.get("batch_size")
    return given | {"batch_size": max(size, _BATCH) if isinstance(size, int) else _BATCH}


def _verb(name: str) -> Callable[..., Any]:
    def call(self: VecDBLocal, *positional: Any, **given: Any) -> Any:
        return self.call(name, *positional, **given)

    call.__name__ = name
    call.__qualname__ = f"VecDBLocal.{name}"
    call.__doc__ = f"As ``VecDB.{name}``."
    return call


# Of local mode these are kept: the version is that of Qdrant's client, which programs compare.
_KEPT = {"info"}


def verbs_of(client: type) -> list[str]:
    """The public methods of one of Qdrant's classes."""
    return [name for name in dir(client) if name[0] != "_" and callable(getattr(client, name))]


for _name in verbs_of(QdrantLocal):
    if _name not in vars(VecDBLocal) and _name not in _KEPT and not _name.isupper():
        setattr(VecDBLocal, _name, _verb(_name))
