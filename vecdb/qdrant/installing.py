"""``install``: programs that make Qdrant's own clients get vecdb's."""

from __future__ import annotations

import os
from typing import Any

import qdrant_client

from vecdb.qdrant import opening
from vecdb.qdrant.clients import AsyncQdrantClient, QdrantClient

_INSTEAD: dict[type, type] = {
    qdrant_client.QdrantClient: QdrantClient,
    qdrant_client.AsyncQdrantClient: AsyncQdrantClient,
}
_installed = False


def install(path: str | os.PathLike[str] | None = None) -> None:
    """From now on ``qdrant_client.QdrantClient(…)`` and ``AsyncQdrantClient(…)`` make vecdb's, also
    where other modules have imported the names before. Clients that are there stay what they are,
    and so do subclasses that a program has of its own.

    ``path``: the directory to which addresses (``url``, ``host``, no argument at all) lead; clients
    of one process share it. None: the one in the environment variable
    ``VECDB_QDRANT_PATH``, and without that an address is refused.
    """
    global _installed
    opening.serve(path)
    if not _installed:
        for theirs in _INSTEAD:
            theirs.__new__ = _new  # type: ignore[method-assign,assignment]
        _installed = True


def uninstall() -> None:
    """Undo ``install``. Clients that are there stay what they are."""
    global _installed
    opening.serve(None)
    _installed = False


def _new(cls: type, *positional: Any, **named: Any) -> Any:
    """In the place of ``__new__``: Python goes on with ``__init__`` of what this makes. It stays
    there after ``uninstall``, as without it Python would refuse the arguments."""
    return object.__new__(_INSTEAD.get(cls, cls) if _installed else cls)
