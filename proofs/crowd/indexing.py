"""An index that another thread makes while something else happens to its collection."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from proofs.lives import PATIENCE, Wrong
from proofs.model.writes import Write, perform
from vecdb.engine.optimize import columns
from vecdb.errors import ClosedError
from vecdb.payload.columns import build

_MIDWAY = 0.03
"""Seconds between reading a segment and reading its payloads, which are too few to take any."""


@contextmanager
def indexing(collection: Any, write: Write) -> Iterator[None]:
    """A block that begins when the index is kept and, where a segment lacks a column, that is being
    written; and ends when the other thread has. It may have been told that the collection is
    closed."""
    midway, errors = threading.Event(), list[BaseException]()

    def make() -> None:
        try:
            perform(collection, write)
        except ClosedError:
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            midway.set()

    thread = threading.Thread(target=make, name="indexing")

    def slowly(*args: Any) -> Any:
        if threading.current_thread() is thread:
            midway.set()
            time.sleep(_MIDWAY)
        return build(*args)

    with patch.object(columns, "build", slowly):
        thread.start()
        midway.wait(PATIENCE)
        yield
        thread.join(PATIENCE)
    if errors or thread.is_alive():
        raise Wrong(f"an index made meanwhile: {errors or 'hangs'}")
