"""Known bugs in what becomes of a database that is closed in the middle of something.

``proofs.crowd --mutants`` must find each, or it is broken itself.
"""

from __future__ import annotations

import threading
from typing import Any

from proofs.mutants import Mutant, put
from vecdb.engine.open import recovery
from vecdb.engine.optimize import columns
from vecdb.engine.store import Store
from vecdb.storage import fs
from vecdb.storage.segment import FileSegment


def closed_under_an_index() -> None:
    """a close waits for no index, and that takes the segment of a closed collection for a removed
    one"""
    close_store = recovery.close_store

    def close(store: Store, *, keep: bool = True) -> None:
        store.columns = threading.RLock()  # nobody holds it
        close_store(store, keep=keep)

    def give_up(store: Store, segment: FileSegment, *_: Any) -> None:
        if segment.id not in store.files:
            fs.discard(segment.path)

    put(recovery, "close_store", close)
    put(columns, "_give_up", give_up)


MUTANTS: dict[str, Mutant[str]] = {
    "closed-under-an-index": Mutant(closed_under_an_index, "close_while_indexing"),
}
"""By the verb that shows it."""
