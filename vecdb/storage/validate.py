"""Validate: whether the content of a catalog can be true.

Checksums show accidents only. A catalog from an archive may say anything; code that relies on it
would read beyond files, write over a segment, or give away an id twice. ``validate`` looks at the
catalog alone; what ``files.expected_files`` says is then compared with the header of every file
that is opened.
"""

from __future__ import annotations

from collections.abc import Mapping

from vecdb.storage import layout
from vecdb.storage.catalog import Snapshot, require_live
from vecdb.storage.files import BY_KIND, expected_files
from vecdb.storage.format import DamageError
from vecdb.storage.segment_row import LARGEST, SegmentRow
from vecdb.vectors.datatypes import FLOAT32

_MOST_ROWS = (1 << 32) - 1  # row numbers in the file ``order`` have 32 bits


def validate(
    snapshot: Snapshot, dims: Mapping[str, int], datatypes: Mapping[str, str] | None = None
) -> None:
    """Raise DamageError for anything that cannot be so in a collection with these vectors.
    ``datatypes``: of those whose originals are not float32."""
    if max(snapshot.applied_seq, snapshot.next_segment_id) > LARGEST:
        raise DamageError(f"applied_seq or next_segment_id beyond {LARGEST}")
    seen: set[int] = set()
    for row in snapshot.segments:
        try:
            if row.id in seen:
                raise DamageError("is listed twice")
            if not 1 <= row.id < snapshot.next_segment_id:
                raise DamageError(f"next_segment_id is {snapshot.next_segment_id}")
            _validate_row(row, dims, datatypes or {})
            if row.edits and row.edits[-1] > layout.edits_file(snapshot.applied_seq):
                raise DamageError(f"{row.edits[-1]} is newer than {snapshot.applied_seq}")
            require_live(row, snapshot.alive.get(row.id), snapshot.live[row.id])
        except DamageError as error:
            raise DamageError(f"segment {row.id:016x}: {error}") from None
        seen.add(row.id)


def _validate_row(row: SegmentRow, dims: Mapping[str, int], datatypes: Mapping[str, str]) -> None:
    if row.rows > _MOST_ROWS:
        raise DamageError(f"{row.rows} rows; the limit is {_MOST_ROWS}")
    # A vector name may be younger than the segment.
    given = {name: vector.dim for name, vector in row.vectors.items()}
    if not given.items() <= dims.items():
        raise DamageError(f"has vectors {given}, the configuration {dict(dims)}")
    for name, vector in row.vectors.items():
        if vector.datatype != datatypes.get(name, FLOAT32):
            raise DamageError(f"has vectors {name!r} of {vector.datatype}, the configuration not")
    expected = expected_files(row)
    for name, file in row.files.items():
        if name not in expected:
            raise DamageError(f"{name!r:.80} is not a file of a segment")
        try:
            expected[name].require_length(file.length)
        except DamageError as error:
            raise DamageError(f"{name}: {error}") from None
    for name, shape in expected.items():
        if name not in row.files and not BY_KIND[shape.kind].optional:
            raise DamageError(f"has no file {name}")
