"""A disk as POSIX allows it to be after a power loss: what was synced, and any choice of the rest.

Operations change the data of a file or an entry of a directory; files and directories are known
by identity, not by name. ``fsync`` of a file makes its data durable, ``fsync`` of a directory the
entries in it, and nothing else does. So what is not synced may be there or not, each operation by
itself, in any combination; and a write may be there in part:

    cut        the file ends in the middle of it
    tail       its later sectors are there and its earlier ones are not
    garbage    one of its sectors holds neither what was nor what should be
    empty      the file has its new length, and zeros where the data should be

The one assumption: a write within one 512-byte sector happens wholly or not at all.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SECTOR = 512
BLOCK = 65536
ROOT = 0
_RECENT, _OTHERS = 12, 20
"""How many of the operations that are not durable are left out, or torn, one at a time."""
_RANDOM = 8
"""Random subsets of them."""

Entry = tuple[int, str]
"""A directory and a name in it."""


@dataclass(slots=True)
class Op:
    """One change: of data (write, truncate) or of a name (bind, unbind, move)."""

    kind: Literal["write", "truncate", "bind", "unbind", "move"]
    file: int
    """Whose data, or what the name stands for."""
    entry: Entry = (ROOT, "")
    target: Entry = (ROOT, "")
    offset: int = 0
    data: bytes = b""
    waits: set[int] = field(default_factory=set)
    """The files and directories whose fsync makes it durable: all of them are needed."""


@dataclass(slots=True)
class Disk:
    """The operations so far, and what the running program sees."""

    ops: list[Op] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    """Numbers of the operations that are not durable."""
    entries: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    """Every directory, as the program sees it."""
    data_ops: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    _sizes: dict[int, int] = field(default_factory=dict)
    _next: int = ROOT + 1
    _digests: dict[object, bytes] = field(default_factory=dict)

    def load(self, directory: Path) -> None:
        """What is durable at the start."""
        for path in sorted(directory.rglob("*")):
            name = str(path.relative_to(directory))
            if path.is_dir():
                self.mkdir(name)
            else:
                self.write(self.create(name), 0, path.read_bytes())
        for op in self.ops:
            op.waits.clear()
        self.pending.clear()

    # -- what the program does -------------------------------------------------------------

    def find(self, name: str) -> int | None:
        """The identity of what has this name now; ``name`` is below the root, ``.`` the root."""
        number: int | None = ROOT
        for part in [] if name == "." else name.split("/"):
            number = self.entries.get(number, {}).get(part) if number is not None else None
        return number

    def create(self, name: str) -> int:
        """Create a file unless it exists."""
        found = self.find(name)
        return self._bind(name, self._new()) if found is None else found

    def mkdir(self, name: str) -> None:
        """Create a directory."""
        number = self._bind(name, self._new())
        self.entries[number] = {}

    def link(self, name: str, to: str) -> None:
        """Give a file one more name."""
        number = self.find(name)
        assert number is not None, name
        self._bind(to, number)

    def remove(self, name: str) -> None:
        """Remove a name, of a file or of a directory."""
        number, entry = self.find(name), self._entry(name)
        if number is not None:
            del self.entries[entry[0]][entry[1]]
            self._add(Op("unbind", number, entry, waits={entry[0]}))

    def move(self, name: str, to: str) -> None:
        """Rename: one step, durable when both directories are."""
        number, entry, target = self.find(name), self._entry(name), self._entry(to)
        assert number is not None, name
        del self.entries[entry[0]][entry[1]]
        self.entries[target[0]][target[1]] = number
        self._add(Op("move", number, entry, target, waits={entry[0], target[0]}))

    def write(self, file: int, offset: int | None, data: bytes) -> None:
        """``offset`` None: at the end."""
        at = self._sizes[file] if offset is None else offset
        self._sizes[file] = max(self._sizes[file], at + len(data))
        self._add(Op("write", file, offset=at, data=data, waits={file}))

    def truncate(self, file: int, length: int) -> None:
        """Cut or extend a file."""
        self._sizes[file] = length
        self._add(Op("truncate", file, offset=length, waits={file}))

    def waits_for(self, number: int, before: int) -> bool:
        """Whether such a ``sync`` would make anything durable."""
        return any(n < before and number in self.ops[n].waits for n in self.pending)

    def sync(self, number: int, before: int) -> None:
        """fsync of a file or a directory that began when there were ``before`` operations."""
        for n in self.pending:
            if n < before:
                self.ops[n].waits.discard(number)
        self.pending = [n for n in self.pending if self.ops[n].waits]

    def settle(self) -> None:
        """The last operation is durable."""
        self.ops[-1].waits.clear()
        self.pending = [n for n in self.pending if self.ops[n].waits]

    def _new(self) -> int:
        self._next += 1
        self._sizes[self._next - 1] = 0
        return self._next - 1

    def _entry(self, name: str) -> Entry:
        parent, _, base = name.rpartition("/")
        directory = self.find(parent or ".")
        assert directory is not None, name
        return directory, base

    def _bind(self, name: str, number: int) -> int:
        entry = self._entry(name)
        self.entries[entry[0]][entry[1]] = number
        self._add(Op("bind", number, entry, waits={entry[0]}))
        return number

    def _add(self, op: Op) -> None:
        if op.kind in ("write", "truncate"):
            self.data_ops[op.file].append(len(self.ops))
        if op.waits:
            self.pending.append(len(self.ops))
        self.ops.append(op)

    # -- what a power loss may leave ---------------------------------------------------------

    def latest(self) -> Iterator[Choice]:
        """Everything happened, but the last write only in part."""
        everything = frozenset(self.pending)
        yield Choice(everything)
        if self.pending and self.ops[self.pending[-1]].kind == "write":
            for kind, at in tears(self.ops[self.pending[-1]]):
                yield Choice(everything, tear=Tear(self.pending[-1], kind, at))

    def choices(self, seed: int) -> Iterator[Choice]:
        """Which pending operations happened, and how. The same for the same seed.

        What could be there at a moment can still be there at any later one, until something
        becomes durable. So it is enough to ask just before.
        """
        pending, everything = self.pending, frozenset(self.pending)
        data = frozenset(n for n in pending if self.ops[n].kind in ("write", "truncate"))
        rng = random.Random(seed)
        yield Choice(frozenset())
        yield Choice(everything)
        if not pending:
            return
        for n in _some(list(range(1, len(pending))), rng):
            yield Choice(frozenset(pending[:n]))
        for n in _some(pending, rng):
            yield Choice(everything - {n})
            yield Choice(frozenset([n]))
        yield Choice(everything - data)
        yield Choice(data)
        yield Choice(everything, empty=data)
        for identity in sorted({w for n in pending for w in self.ops[n].waits}):
            here = frozenset(n for n in pending if identity in self.ops[n].waits)
            yield Choice(everything - here)
            yield Choice(here)
            yield Choice(everything, empty=here & data)
        if len(pending) > 3:
            for _ in range(_RANDOM):
                yield Choice(frozenset(n for n in pending if rng.random() < 0.5))
        for n in _some([n for n in pending if self.ops[n].kind == "write"], rng):
            ways = list(tears(self.ops[n]))
            for kind, at in rng.sample(ways, min(3, len(ways))):
                yield Choice(everything, tear=Tear(n, kind, at))
                yield Choice(frozenset(p for p in pending if p <= n), tear=Tear(n, kind, at))

    def content(self, file: int, choice: Choice) -> bytes:
        """The bytes of a file in an image."""
        data = bytearray()
        for n in self.data_ops[file]:
            if not (n in choice.chosen or not self.ops[n].waits):
                continue
            op = self.ops[n]
            if op.kind == "truncate":
                del data[op.offset :]
                data.extend(bytes(op.offset - len(data)))
                continue
            for at, piece in choice.pieces(n, op):
                data.extend(bytes(max(0, op.offset + at - len(data))))
                data[op.offset + at : op.offset + at + len(piece)] = piece
        return bytes(data)

    def digest(self, file: int, choice: Choice) -> bytes:
        """Equal for equal content."""
        there = tuple(n for n in self.data_ops[file] if n in choice.chosen or not self.ops[n].waits)
        torn = choice.tear if choice.tear is not None and choice.tear.op in there else None
        key = (file, there, torn, choice.empty.intersection(there))
        found = self._digests.get(key)
        if found is None:
            found = hashlib.blake2b(self.content(file, choice), digest_size=16).digest()
            self._digests[key] = found
        return found


@dataclass(frozen=True, slots=True)
class Tear:
    """A write that reached the disk in part; ``at`` is an offset within it."""

    op: int
    kind: Literal["cut", "tail", "garbage"]
    at: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One way in which pending operations happened: those of ``chosen``."""

    chosen: frozenset[int]
    tear: Tear | None = None
    empty: frozenset[int] = frozenset()
    """Writes of which only the length came."""

    def pieces(self, number: int, op: Op) -> Iterator[tuple[int, bytes]]:
        """The pieces of a write that are on the disk, and where in it."""
        if number in self.empty:
            yield len(op.data), b""
        elif self.tear is None or self.tear.op != number:
            yield 0, op.data
        elif self.tear.kind == "cut":
            yield 0, op.data[: self.tear.at]
        elif self.tear.kind == "tail":
            yield self.tear.at, op.data[self.tear.at :]
        else:
            yield 0, op.data
            end = min(_sector_end(op, self.tear.at), len(op.data))
            yield self.tear.at, random.Random(number).randbytes(end - self.tear.at)


def _sector_end(op: Op, at: int) -> int:
    return at + SECTOR - (op.offset + at) % SECTOR


def _some(numbers: list[int], rng: random.Random) -> list[int]:
    """The last few and some of the others, the last first: work must not grow with the square of
    what a program leaves unsynced."""
    rest = numbers[:-_RECENT]
    return [*numbers[: -_RECENT - 1 : -1], *rng.sample(rest, min(len(rest), _OTHERS))]


def tears(op: Op) -> Iterator[tuple[Literal["cut", "tail", "garbage"], int]]:
    """The ways in which a write may be there in part; none if it is within one sector."""
    size = len(op.data)
    edges = list(range(_sector_end(op, 0), size, SECTOR))
    if not edges:
        return
    some = {edges[0], edges[len(edges) // 2], edges[-1]}
    blocks = range(BLOCK - op.offset % BLOCK, size, BLOCK)
    cuts = {1, size // 2, SECTOR, 4096, size - 1, *some, *blocks[:1], *blocks[-1:]}
    for at in sorted(cuts):
        if 0 < at < size:
            yield "cut", at
    for at in sorted(some):
        yield "tail", at
    for at in sorted({0, *some}):
        yield "garbage", at


class Image:
    """One possible disk: a tree of names, and the content of each file."""

    def __init__(self, disk: Disk, choice: Choice) -> None:
        self.disk = disk
        self.choice = choice
        self.directories: list[str] = []
        self.files: dict[str, int] = {}
        entries: dict[int, dict[str, int]] = defaultdict(dict)
        for number, op in enumerate(disk.ops):
            if op.waits and number not in choice.chosen:
                continue
            if op.kind == "bind":
                entries[op.entry[0]][op.entry[1]] = op.file
            elif op.kind in ("unbind", "move"):
                if entries[op.entry[0]].get(op.entry[1]) == op.file:
                    del entries[op.entry[0]][op.entry[1]]
                if op.kind == "move":
                    entries[op.target[0]][op.target[1]] = op.file
        self._walk(entries, ROOT, "")

    def _walk(self, entries: dict[int, dict[str, int]], directory: int, path: str) -> None:
        for name, number in sorted(entries[directory].items()):
            if number in self.disk.entries:
                self.directories.append(path + name)
                self._walk(entries, number, f"{path}{name}/")
            else:
                self.files[path + name] = number

    def digest(self) -> bytes:
        """Equal for equal images."""
        state = hashlib.blake2b(repr(self.directories).encode(), digest_size=16)
        for name, number in self.files.items():
            state.update(name.encode() + b"\0" + self.disk.digest(number, self.choice))
        return state.digest()

    def write(self, target: Path) -> None:
        """Make the image a directory, in place of what is there."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in self.directories:
            (target / name).mkdir()
        for name, number in self.files.items():
            (target / name).write_bytes(self.disk.content(number, self.choice))
