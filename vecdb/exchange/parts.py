"""Parts: what an export has gathered so far, in a directory beside the file that it makes.

Points are read from the collection in the order of their ids, and written part by part, each a
whole safetensors file that is synced and then gets its name. So an export that was killed goes on
behind the last part. A part knows the id of the next point.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from vecdb.collection import Collection
from vecdb.errors import InvalidInputError, LockedError
from vecdb.exchange import safetensors
from vecdb.exchange.columns import (
    Columns,
    PointId,
    Tick,
    columns_of,
    dims_of,
    json_of,
)
from vecdb.models import CollectionConfig
from vecdb.storage import fs
from vecdb.vectors.datatypes import bytes_per_vector

SUFFIX = ".exporting"
_REQUEST = "request.json"
_LOCK = "lock"
_NEW = "new"
_FINISHED = "finished"
_NEXT = "next"
_PART_BYTES = 32 << 20
_PART_ROWS = 65_536
_PAGE_NUMBERS = 1 << 18  # of vectors in a page of scroll, which are objects of Python for a moment


class Request(Struct, frozen=True):
    """What is to be exported: what goes on must be the same."""

    collection: str
    format: str
    config: CollectionConfig
    """With the vectors that are wanted only."""
    filter: Any
    with_payload: bool
    last_operation_id: int
    """The last write before the export: parts of two states make no state."""


class _Gathered(Struct):
    """The points of one part, in memory."""

    gathered: list[Columns]
    request: Request

    @property
    def count(self) -> int:
        return sum(map(len, self.gathered))

    @property
    def dims(self) -> dict[str, int]:
        return dims_of(self.request.config)

    @property
    def config(self) -> CollectionConfig:
        return self.request.config

    @property
    def with_payload(self) -> bool:
        return self.request.with_payload

    @property
    def numbers(self) -> bool:
        return all(type(i) is int for columns in self.gathered for i in columns.ids)

    @property
    def holes(self) -> set[str]:
        return {n for c in self.gathered for n, block in c.vectors.items() if block.has is not None}

    def columns(
        self, rows: int, names: Sequence[str] | None = None, with_payload: bool = True
    ) -> Iterator[Columns]:
        return iter(self.gathered)


def locked(directory: Path) -> fs.FileLock:
    """Make the directory of an export, if it is not there, and keep others from it. Raises
    LockedError."""
    with suppress(FileExistsError):
        fs.make_dir(directory)
    try:
        lock = fs.FileLock(directory / _LOCK, str(directory))
        if lock.is_at(directory / _LOCK):
            return lock
        lock.release()
    except FileNotFoundError:
        pass
    raise LockedError(f"{directory}: another export has just ended there; try again")


class Parts:
    """The parts of one export; as a `Whole`, when it has all."""

    def __init__(self, directory: Path, request: Request) -> None:
        self._directory = directory
        self.request = request
        self.config = request.config
        self.dims = dims_of(request.config)
        self.with_payload = request.with_payload
        self._parts = [safetensors.Safetensors(path) for path in sorted(directory.glob("*.part"))]

    @classmethod
    def begin(cls, directory: Path, request: Request) -> Parts:
        """Begin a new export in its directory. Without a request nobody goes on with what is left
        of another."""
        fs.remove_file(directory / _REQUEST)
        fs.sync_dir(directory)
        for entry in directory.iterdir():
            if entry.name != _LOCK:
                fs.discard(entry)
        fs.write_file(directory / _REQUEST, msgspec.json.encode(request))
        fs.sync_dir(directory)
        return cls(directory, request)

    @classmethod
    def resume(cls, directory: Path, request: Request) -> Parts:
        """Go on with an export. Raises InvalidInputError if it was another one, or the collection
        was written to since."""
        try:
            begun = json.loads((directory / _REQUEST).read_bytes())
        except (OSError, ValueError):  # it ended before it began
            return cls.begin(directory, request)
        asked = json.loads(msgspec.json.encode(request))
        other = [name for name in asked if begun.get(name) != asked[name]]
        if other == ["last_operation_id"]:
            raise InvalidInputError(
                f"{directory}: {request.collection!r} was written to since the export began, and "
                f"its parts would be of two states; overwrite=True starts anew"
            )
        if other:
            raise InvalidInputError(
                f"{directory}: the export that was interrupted has another {other[0]}: "
                f"{begun.get(other[0])!r:.100}; overwrite=True starts anew"
            )
        fs.discard(directory / _NEW)
        fs.discard(directory / _FINISHED)
        return cls(directory, request)

    @property
    def next(self) -> PointId | None:
        """The id to go on from; None: from the first, or there are no more."""
        next_id: PointId | None = json.loads(self._parts[-1].notes[_NEXT]) if self._parts else None
        return next_id

    @property
    def complete(self) -> bool:
        """Whether the last point is there."""
        return bool(self._parts) and self.next is None

    def gather(self, collection: Collection, tick: Tick) -> None:
        """Read what is missing from the collection."""
        while not self.complete:
            pages, next_id = self._read(collection, self.next, tick)
            new = self._directory / _NEW
            notes = {_NEXT: json.dumps(next_id)}
            safetensors.write(_Gathered(pages, self.request), new, lambda count: None, notes)
            part = self._directory / f"{len(self._parts):08d}.part"
            fs.rename(new, part)
            fs.sync_dir(self._directory)
            self._parts.append(safetensors.Safetensors(part))

    def _read(
        self, collection: Collection, next_id: PointId | None, tick: Tick
    ) -> tuple[list[Columns], PointId | None]:
        """The points of one part, and the id of the next."""
        names = list(self.dims)
        numbers = sum(map(bytes_per_vector, self.dims.values())) // 4
        pages: list[Columns] = []
        rows = held = 0
        while True:
            records, next_id = collection.scroll(
                scroll_filter=self.request.filter,
                limit=max(1, min(1000, _PAGE_NUMBERS // max(1, numbers))),
                offset=next_id,
                with_payload=self.with_payload,
                with_vectors=names or False,
            )
            page = columns_of(records, self.dims, with_payload=self.with_payload)
            pages.append(page)
            rows += len(page)
            held += sum(block.nbytes for block in page.vectors.values())
            held += sum(len(json_of(p)) for p in page.payloads or ())
            tick(len(page))
            if next_id is None or rows >= _PART_ROWS or held >= _PART_BYTES:
                return pages, next_id

    def finished(self) -> Path:
        """A new directory for the files that are made of the parts."""
        path = self._directory / _FINISHED
        fs.make_dir(path)
        return path

    def remove(self) -> None:
        """Remove all parts: they are of no more use. Without its request nobody goes on with some
        of them."""
        fs.remove_file(self._directory / _REQUEST)
        fs.sync_dir(self._directory)
        fs.remove_tree(self._directory)

    # -- as a Whole ------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many points were gathered."""
        return sum(part.count for part in self._parts)

    @property
    def numbers(self) -> bool:
        """Whether all ids are integers."""
        return all(part.numbers for part in self._parts)

    @property
    def holes(self) -> set[str]:
        """Vector names that some points lack."""
        return set().union(*(part.holes for part in self._parts))

    def columns(
        self, rows: int, names: Sequence[str] | None = None, with_payload: bool = True
    ) -> Iterator[Columns]:
        """All points that were gathered."""
        for part in self._parts:
            yield from part.columns(rows, names, with_payload)
