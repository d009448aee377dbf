"""Qdrant's Python client on vecdb: the line that a program changes, and no other.

    from vecdb.qdrant import AsyncQdrantClient, QdrantClient, models

in the place of ``from qdrant_client import …``. The clients are subclasses of Qdrant's, take and
return its objects (``models`` is ``qdrant_client.models``), and work on a directory or in memory.
Needs the extra ``qdrant``: in a clone, ``pip install '.[qdrant]'``.

A program of which nothing is to be changed calls ``install`` first.
"""

from __future__ import annotations

try:
    from qdrant_client import models
except ImportError as _error:  # pragma: no cover - the tests need it
    raise ImportError(
        "vecdb.qdrant needs Qdrant's client, the extra 'qdrant' of vecdb-embedded"
    ) from _error

from vecdb.qdrant.clients import AsyncQdrantClient, QdrantClient
from vecdb.qdrant.errors import (
    AlreadyOpen,
    BadRequest,
    ClientClosed,
    Conflict,
    NotFound,
    NotSupported,
    ResponseError,
)
from vecdb.qdrant.installing import install, uninstall

__all__ = [
    "AlreadyOpen",
    "AsyncQdrantClient",
    "BadRequest",
    "ClientClosed",
    "Conflict",
    "NotFound",
    "NotSupported",
    "QdrantClient",
    "ResponseError",
    "install",
    "models",
    "uninstall",
]
