"""The commit point: one catalog transaction, and what to remove where it was not reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vecdb.engine.store import Store
from vecdb.errors import NotBegunError
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.catalog import Change


def abandon(store: Store, builder: SegmentBuilder | None) -> None:
    """Remove what a failed build wrote, unless it was committed or may have been."""
    if builder is not None and store.failure is None and builder.segment_id not in store.files:
        builder.abandon()


@contextmanager
def committing(store: Store, change: Change) -> Iterator[None]:
    """The one commit point, then the block that makes memory agree with it.

    If either fails, what the catalog says and what memory says may differ, so nothing is written
    or deleted after it.
    """
    catalog = store.catalog
    assert catalog is not None, "require_writable comes first"
    try:
        catalog.commit(change)
        yield
    except NotBegunError:  # nothing has changed, here or there
        raise
    except BaseException as error:
        store.fail(f"{catalog.path}: commit failed: {type(error).__name__}: {error}")
        raise
