"""Columns: of which fields of the payload segments have one, and what makes it.

A field has columns because `create_payload_index` asked for it, or because filters keep asking for
the field (`Demand`). A column says what was written with the rows; see `read/columns.py` for rows
that were edited since. It is derived: a segment without one is searched by its payloads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from vecdb import models
from vecdb.errors import InvalidInputError
from vecdb.payload import columns
from vecdb.payload.columns.naming import spelled
from vecdb.payload.fields import text_indexes
from vecdb.storage.segment_row import SegmentRow


class Field(Struct, frozen=True):
    """A field that has columns. ``made``: how, as the catalog has it; ``text``: its text index."""

    made: dict[str, Any]
    text: models.TextIndexParams | None = None

    def is_made(self, made: Mapping[str, Any]) -> bool:
        """Whether a column that was made so is what it is to be, whoever asked for it."""
        return made == self.made or all(
            made.get(key) == self.made.get(key) for key in ("layout", "text", "words", "counts")
        )


Fields = Mapping[str, Field]
"""By the canonical spelling of their paths."""

MANY_ROWS = 4096
"""To read the payloads of fewer rows takes a few milliseconds."""
_OFTEN = 3
"""A field gets columns when it was asked for so often in one segment."""
_MOST = 32
"""So many fields get columns unasked."""
_LONGEST = 200
"""Bytes of the longest path that does."""
_LAYOUT = 1
_WORDS = 2
"""Of stemmers and lists of stop words: others would find other tokens than a column has."""
_COUNTS = 1
"""Of how often rows have a token. Older columns have no such numbers, whatever their index."""
_NAMED = Field({"layout": _LAYOUT})
_AUTOMATIC = Field({"layout": _LAYOUT, "automatic": True})
_MOST_COUNTED = 4096


def fields_of(config: models.CollectionConfig, automatic: Iterable[str]) -> Fields:
    """The fields that are to have columns. ``automatic``: those that nobody asked for."""
    fields: dict[str, Field] = {}
    if config.optimizer_config.automatic_indexes:
        fields = dict.fromkeys(sorted(automatic), _AUTOMATIC)
    schema = config.payload_schema or {}
    fields |= {columns.canonical(path): _NAMED for path in schema}
    for steps, text in text_indexes(schema).items():
        made = {**_NAMED.made, "text": models.to_builtins(text)}
        if text.stopwords is not None or text.stemmer is not None:
            made["words"] = _WORDS
        if columns.counts_tokens(text):
            made["counts"] = _COUNTS
        fields[spelled(list(steps))] = Field(made, text)
    return fields


def automatic_in(rows: Sequence[SegmentRow]) -> frozenset[str]:
    """The fields that got columns though nobody asked for it. Raises InvalidInputError for columns
    of what is no field."""
    for row in rows:
        for field in row.columns:
            if columns.canonical(field) != field:
                raise InvalidInputError(f"a column of {field!r:.100}, which is no path")
    return frozenset(f for row in rows for f, made in row.columns.items() if "automatic" in made)


class Demand:
    """Counts how often fields without columns were asked for where that took many payloads.

    There is no lock: a count that is lost makes a column a little later.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        """``changed`` is called when a field is asked for often enough."""
        self.due: frozenset[str] = frozenset()
        """The fields that are to get columns."""
        self._changed = changed
        self._counts: dict[tuple[int, str], int] = {}

    def note(self, segment_id: int, fields: Collection[str], rows: int) -> None:
        """Fields were asked for in a segment, and so many payloads were read."""
        if rows < MANY_ROWS:
            return
        counts = self._counts
        for field in fields:
            if len(field.encode("utf-8", "replace")) > _LONGEST or field in self.due:
                continue
            count = counts[segment_id, field] = counts.get((segment_id, field), 0) + 1
            if count >= _OFTEN and len(self.due) < _MOST:
                self.due |= {field}
                self._changed()
        if len(counts) > _MOST_COUNTED:
            self._counts = {}

    def forget(self, field: str) -> None:
        """Begin anew with a field."""
        self.due -= {field}
        counts = self._counts.copy()  # reads go on counting
        self._counts = {key: n for key, n in counts.items() if key[1] != field}
