"""VecDBLocal: what does the work of a client, in the place of Qdrant's local mode.

Programs look whether a client's ``_client`` is a ``QdrantLocal``, that is, whether there is a
server; so it is one, of which every verb is replaced. A verb goes to the one of ``VecDB`` with the
same name, by keyword; few need more than that and are written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qdrant_client.local.qdrant_local import QdrantLocal

from vecdb.database import VecDB
from vecdb.errors import ReentrantCallError
from vecdb.qdrant import arguments
from vecdb.qdrant.answers import as_qdrants
from vecdb.qdrant.errors import ClientClosed, NotSupported, raised_as_there
from vecdb.qdrant.opening import MEMORY, Opened, open_given


class VecDBLocal(QdrantLocal):
    """The verbs of one client, on the database that the arguments of its constructor ask for.
    Closed by ``close``, or as soon as nothing refers to it.

    Raises what ``open_given`` does.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        # Not QdrantLocal's: that would open, and make, files of its own.
        opened = open_given(given, self)
        self._opened: Opened | None = opened  # None once it is closed
        self.location = opened.location
        self.persistent = self.location != MEMORY
        self.force_disable_check_same_thread = False

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._opened is None

    @property
    def database(self) -> VecDB:
        """The database itself. Raises ClientClosed after ``close``, though other clients may have
        it open."""
        opened = self._opened
        database = None if opened is None else opened.database
        if database is None:
            raise ClientClosed
        return database

    def close(self, **qdrant: Any) -> None:
        """Close the database, if no other client shares it. May be repeated."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            opened.release(self)
        except ReentrantCallError:  # and so nothing was closed
            self._opened = opened
            raise

    def call(self, verb: str, /, *positional: Any, **given: Any) -> Any:
        """What the verb of ``VecDB`` answers, as Qdrant's objects. Raises NotSupported if there is
        no such verb."""
        with raised_as_there(named_by(positional, given)):
            method = self.method(verb)
            return as_qdrants(method(**arguments.prepared(verb, method, positional, given)))

    def method(self, verb: str) -> Callable[..., Any]:
        """The verb of ``VecDB``. Raises NotSupported, and ClientClosed after ``close``."""
        method: Callable[..., Any] | None = getattr(self.database, verb, None)
        if method is None:
            raise NotSupported(f"{verb}: not supported by vecdb")
        return method

    def upload_records(self, collection_name: str, records: Iterable[Any], **given: Any) -> None:
        """An older name of ``upload_points``."""
        self.call("upload_points", collection_name, points=records, **given)


def named_by(positional: tuple[Any, ...], given: dict[str, Any]) -> Any:
    """The collection that a call is about."""
    return positional[0] if positional else given.get("collection_name")


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
