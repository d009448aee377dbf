"""Columns: what rows have at one path of their payloads, so that a filter takes no payload.

A column belongs to one path (`vecdb.payload.paths`) and the rows of one segment. It holds every
scalar value that the rows have there, whatever their types: no type has to be declared. It answers
for a row exactly as the row test (`vecdb.payload.filters`) does, or leaves the row open.

* `build` makes one from stored payloads; `Column.pack` and `Column.read` are its bytes.
* `Growing` is that of a segment that grows: pieces, each of which is a `Column`.
* `bounds` says of a filter which rows surely match and which possibly do, by columns.
* `Column.facet`, `Column.ordered`: counts by value, rows by value.
"""

from __future__ import annotations

from vecdb.payload.columns.collecting import build
from vecdb.payload.columns.column import Column
from vecdb.payload.columns.entries import Entries
from vecdb.payload.columns.frequencies import Occurrences
from vecdb.payload.columns.growing import Growing, Joined
from vecdb.payload.columns.logic import bounds
from vecdb.payload.columns.naming import canonical
from vecdb.payload.columns.three_valued import Bounds
from vecdb.payload.columns.tokens import counts_tokens

# fmt: off
__all__ = [
    "Bounds", "Column", "Entries", "Growing", "Joined", "Occurrences", "bounds", "build",
    "canonical", "counts_tokens",
]
# fmt: on
