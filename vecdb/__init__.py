"""vecdb: an embedded, persistent vector database for Python.

    import vecdb
    from vecdb import models

    with vecdb.VecDB("my.db") as db:
        db.create_collection(
            "texts", vectors_config=models.VectorParams(size=384, distance=models.Distance.COSINE)
        )

Importing this package loads neither numba nor lmdb; the first use of ``VecDB`` loads lmdb, that of
``AsyncVecDB`` asyncio, and the first search its kernels: a library, or numba where there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vecdb import errors, models
from vecdb.version import VERSION as __version__

if TYPE_CHECKING:
    from vecdb.aio.collection import AsyncCollection
    from vecdb.aio.database import AsyncVecDB
    from vecdb.collection import Collection
    from vecdb.database import VecDB

__all__ = [
    "AsyncCollection",
    "AsyncVecDB",
    "Collection",
    "VecDB",
    "__version__",
    "errors",
    "models",
]


def __getattr__(name: str) -> Any:
    if name == "VecDB":
        from vecdb.database import VecDB

        return VecDB
    if name == "Collection":
        from vecdb.collection import Collection

        return Collection
    if name == "AsyncVecDB":
        from vecdb.aio.database import AsyncVecDB

        return AsyncVecDB
    if name == "AsyncCollection":
        from vecdb.aio.collection import AsyncCollection

        return AsyncCollection
    raise AttributeError(f"module 'vecdb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
