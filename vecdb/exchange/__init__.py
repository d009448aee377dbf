"""Points to and from files and Qdrant servers: export, import, push and pull.

    from vecdb import exchange

    exchange.export_collection(db.collection("texts"), "texts.parquet")
    exchange.import_collection(db, "copy", "texts.parquet")

Everything here works through the public verbs, a few thousand points at a time. What was
interrupted, by Ctrl-C or by the death of the process, goes on with ``resume=True``.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ExportReport",
    "ImportReport",
    "TransferReport",
    "export_collection",
    "import_collection",
    "pull_collection",
    "push_collection",
    "to_arrow",
    "to_dicts",
    "to_pandas",
]


def __getattr__(name: str) -> Any:
    if name in ("ExportReport", "export_collection"):
        from vecdb.exchange import exporting

        return getattr(exporting, name)
    if name in ("ImportReport", "import_collection"):
        from vecdb.exchange import importing

        return getattr(importing, name)
    if name in ("TransferReport", "pull_collection", "push_collection"):
        from vecdb.exchange import transfer

        return getattr(transfer, name)
    if name in ("to_arrow", "to_dicts", "to_pandas"):
        from vecdb.exchange import frames

        return getattr(frames, name)
    raise AttributeError(f"module 'vecdb.exchange' has no attribute {name!r}")
