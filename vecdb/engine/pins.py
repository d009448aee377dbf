"""Pins: which parts of open collections are in private memory, where a budget says how many.

Within a budget a segment is opened with all of it mapped. When it is in place, `settle` pins what
the configuration wants in memory, as far as there is room: so a new segment and those that it
replaces are never pinned together. When the database opens, all collections come first, as the
pins of one may leave no room for another's; then `require_fit` may refuse to open.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress

from vecdb.engine.budget import Budget, Pin
from vecdb.engine.schema import Schema
from vecdb.engine.store import Store
from vecdb.errors import CorruptionError, OverBudgetError

_log = logging.getLogger("vecdb")

_SHOWN = 5


def settle_all(budget: Budget, stores: Iterable[Store]) -> None:
    """Pin what there is room for, of all collections of a database that opens. Raises
    OverBudgetError if what was asked for does not fit, unless it is to be demoted."""
    if budget.limit is None:
        return
    budget.begun = True
    stores = list(stores)
    asked = [pin for store in stores for pin in pins_of(store) if pin.asked]
    need = sum(pin.size for pin in asked)
    if need > budget.pins and budget.over == "raise":
        raise OverBudgetError(_refusal(budget, asked, need))
    for store in sorted(stores, key=lambda each: sum(pin.size for pin in pins_of(each))):
        settle(store)


def settle(store: Store) -> None:
    """Pin what the configuration wants in memory, as far as there is room, and map the rest. Takes
    the maintenance lock. Files that cannot be read stay as they are."""
    if store.budget.limit is None or not store.budget.begun or store.closed:
        return
    with store.maintenance:
        wanted = pins_of(store)
        granted = store.budget.grant(store, wanted)
        demoted = tuple(pin for pin in wanted if pin.asked and pin not in granted)
        known = {(pin.part, pin.of) for pin in store.demoted}
        for pin in demoted:
            if (pin.part, pin.of) not in known:
                known.add((pin.part, pin.of))  # once, and not for each new segment
                _log.warning("%s bytes are mapped: memory_limit leaves no room for them", pin)
        store.demoted = demoted
        with suppress(OSError), store.place or nullcontext():
            # What loses its place first, or for a moment there would be both.
            _move(store, [pin for pin in granted if _is_pinned(store, pin)])
            _move(store, granted)


def pins_of(store: Store) -> list[Pin]:
    """What the configuration wants in private memory, of the segments that there are."""
    pins = []
    for segment_id, state in list(store.files.items()):
        row = state.segment.row
        wanted = store.wanted(row, store.schema, store.config)
        for (part, of), size in wanted.pinned_parts(row).items():
            asked = is_asked(store.schema, part, of)
            pins.append(Pin(store.name, segment_id, part, of, size, asked))
    return pins


def is_asked(schema: Schema, part: str, of: str) -> bool:
    """Whether the configuration says that a part is to be in memory, or it is only so where nothing
    is said."""
    if part not in ("originals", "codes", "index"):
        return True
    vector = schema[of]
    parts = ["originals", "codes", "index"]
    said = [vector.originals, None if vector.codec is None else vector.codes, vector.index]
    # What nothing is said of is where that is which it stands for, see ``placements_of``.
    return next((each == "pinned" for each in said[parts.index(part) :: -1] if each), False)


def _is_pinned(store: Store, pin: Pin) -> bool:
    segment = store.files[pin.segment].segment
    return (pin.part, pin.of) in segment.placements.pinned_parts(segment.row)


def _move(store: Store, pinned: Sequence[Pin]) -> None:
    """Place every part of a collection's segments: these pinned, what else would be so cached."""
    for segment_id, state in list(store.files.items()):
        segment = state.segment
        kept = {(pin.part, pin.of) for pin in pinned if pin.segment == segment_id}
        placements = store.wanted(segment.row, store.schema, store.config).demoted(kept)
        if placements == segment.placements:
            continue
        with suppress(OSError, CorruptionError):  # whoever reads what is damaged will say so
            moved = segment.moved(placements)
            with store.write:
                if store.files.get(segment_id) is state:
                    state.segment = moved
                    store.publish()


def _refusal(budget: Budget, asked: list[Pin], need: int) -> str:
    largest = sorted(asked, key=lambda pin: -pin.size)
    listed = "; ".join(map(str, largest[:_SHOWN]))
    more = f"; and {len(largest) - _SHOWN} more" if len(largest) > _SHOWN else ""
    assert budget.limit is not None
    # The smallest limit with room for them: pins have a fixed share of it.
    enough = -(-need * budget.limit // budget.pins)
    return (
        f"memory_limit of {budget.limit:,} bytes leaves {budget.pins:,} for what is to be in "
        f"memory, and that takes {need:,}: {listed}{more}. Give memory_limit={enough:,}, or let "
        f"vectors be on disk (update_collection: memory, on_disk, always_ram), or open with "
        f"on_over_budget='demote', which maps what does not fit"
    )
