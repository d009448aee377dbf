"""Why damage may do no harm. What has no reason here and was not noticed is a finding.

Nothing of the engine is asked: the bytes that a catalog uses are found by walking LMDB's pages,
and what a damaged log must still give is worked out by comparing it with the undamaged one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import msgpack

from vecdb.errors import FormatVersionError
from vecdb.storage.format import HEADER_SIZE, DamageError, WalHeader, unpack_frame
from vecdb.storage.layout import parse_wal_file

PAGE = 4096

# LMDB 0.9's structures (mdb.c), little-endian, 64 bits.
_PAGE_HEADER = struct.Struct("<Q2xHHH")  # number, flags, lower, upper
_META_AT = 16  # in its page
_FREE, _ROWS = _META_AT + 24, _META_AT + 72  # trees: of free pages, of rows
_ROOT = 40  # in a tree's record
_TRANSACTION = _META_AT + 128
_BRANCH = 1  # flag of a page
_BIG = 1  # flag of a node: its value is in pages of its own
_NONE = (1 << 64) - 1


def newest_meta(data: bytes) -> int:
    """Where the meta page of the newest transaction begins."""
    if len(data) < PAGE + _TRANSACTION + 8:
        return 0
    first, second = (struct.unpack_from("<Q", data, at + _TRANSACTION)[0] for at in (0, PAGE))
    return PAGE if second > first else 0


@dataclass(frozen=True)
class Catalog:
    """A ``data.mdb`` as its newest state has it."""

    used: bytearray
    """For each byte of the file the bits that the state depends on."""
    rows: dict[bytes, bytes]

    @property
    def applied_seq(self) -> int:
        return int(msgpack.unpackb(self.rows[b"state"][8:])["applied_seq"])


def read_catalog(data: bytes) -> Catalog:
    """Walk all pages of the newest state. Only for files that are whole."""
    used, rows = bytearray(len(data)), {}
    meta = newest_meta(data)

    def mark(start: int, length: int, bits: int = 0xFF) -> None:
        used[start : start + length] = bytes([bits]) * length

    def value_of(at: int, size: int, big: bool) -> bytes:
        if big:
            mark(at, 8)
            first = struct.unpack_from("<Q", data, at)[0] * PAGE
            mark(first, 8)
            mark(first + 10, 6)
            at = first + 16
        mark(at, size)
        return data[at : at + size]

    def walk(number: int, tree: int) -> None:
        at = number * PAGE
        found, flags, lower, _ = _PAGE_HEADER.unpack_from(data, at)
        assert found == number, f"page {number} says {found}"
        mark(at, 8)
        mark(at + 10, 2)
        # The number of nodes is half of ``lower``. ``upper``, where free space ends, can only be
        # wrong by leaving some of it out.
        mark(at + 12, 1, 0xFE)
        mark(at + 13, 1)
        mark(at + 16, lower - 16)
        for node in struct.unpack_from(f"<{(lower - 16) // 2}H", data, at + 16):
            low, high, node_flags, length = struct.unpack_from("<4H", data, at + node)
            key = at + node + 8
            # A list of free pages has as its key since when they are free: no reader is as old.
            mark(at + node, 8 + (0 if tree == _FREE else length))
            if flags & _BRANCH:
                walk(low | high << 16 | node_flags << 32, tree)
            else:
                mark(at + node + 4, 1, 7)  # three flags are defined
                mark(at + node + 5, 1, 0)
                size, big = low | high << 16, bool(node_flags & _BIG)
                rows[data[key : key + length]] = value_of(key + length, size, big)

    for page in (0, PAGE):
        mark(page + _META_AT, 8)  # magic and version: of both
        mark(page + _TRANSACTION, 8)  # which of them is the newest
    mark(_META_AT + 24, 4)  # the size of a page
    mark(meta + 10, 2)  # flags of the page
    mark(meta + _FREE, _TRANSACTION - _FREE)  # before: the map's address and size, which we say
    for tree in (_FREE, _ROWS):
        root = struct.unpack_from("<Q", data, meta + tree + _ROOT)[0]
        if root != _NONE:
            walk(root, tree)
    return Catalog(used, rows)


def catalog_unharmed(before: bytes, after: bytes) -> str | None:
    """Why a catalog reads the same, if it must."""
    used = read_catalog(before).used
    if newest_meta(after) == newest_meta(before):  # whatever number the older one has now
        older = PAGE - newest_meta(before) + _TRANSACTION
        used[older : older + 8] = bytes(8)
    changed = [n for n in range(min(len(before), len(after))) if before[n] != after[n]]
    if any(used[n] & (before[n] ^ after[n]) for n in changed) or any(used[len(after) :]):
        return None
    if not changed:
        return "the catalog ends before the bytes that were added or cut off"
    return "bytes of the catalog's file that its newest state does not use"


def is_listed(file: Path) -> bool:
    """Whether a file of an undamaged segment is one that the catalog names."""
    data = (file.parents[2] / "catalog" / "data.mdb").read_bytes()
    row = read_catalog(data).rows[f"segment/{file.parent.name}".encode()]
    return file.name in msgpack.unpackb(row[8:])["files"]


# -- the log -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Log:
    """What a damaged log must give: damage, or all operations up to ``last`` and ``torn`` bytes."""

    damaged: bool
    last: int = 0
    torn: int = 0


def log_after_damage(before: Path, after: Path, applied: int) -> Log:
    """Compare a collection's ``wal`` directory with what it was.

    Lost operations are noticed if something whole stands behind them, or if no file is left.
    Otherwise nothing is left that could tell, and the log ends before them.
    """
    files = sorted(p for p in before.iterdir() if parse_wal_file(p.name) is not None)
    firsts = [parse_wal_file(p.name) or 0 for p in files]
    while len(files) > 1 and firsts[1] <= applied + 1:  # retired: never read
        del files[0], firsts[0]
    if not after.is_dir() or not any(parse_wal_file(p.name) is not None for p in after.iterdir()):
        return Log(damaged=True)
    lost: int | None = None  # the first operation that cannot be read
    torn, last = 0, applied
    for first, path in zip(firsts, files, strict=True):
        here = after / path.name
        if not here.exists() and not here.is_symlink():
            lost = first if lost is None else lost
            continue
        if lost is not None and first > lost:
            return Log(damaged=True)  # its name says that something stood before it
        if not here.is_file():
            return Log(damaged=True)
        old, new = path.read_bytes(), here.read_bytes()
        if old[:HEADER_SIZE] != new[:HEADER_SIZE]:
            if not _is_empty_copy(old, new):
                return Log(damaged=True)
            lost = first if lost is None else lost
            continue
        frames = _frames(old)
        whole = [new[start:end] == old[start:end] for start, end, _, _ in frames]
        last = max(last, frames[-1][3]) if frames else last
        if all(whole):
            torn += len(new) - len(old)
            continue
        broken = whole.index(False)
        if any(whole[broken:]):
            return Log(damaged=True)
        start, _, seq, _ = frames[broken]
        lost = seq if lost is None else lost
        torn += max(0, len(new) - start)
    return Log(damaged=False, last=last if lost is None else max(applied, lost - 1), torn=torn)


def _is_empty_copy(old: bytes, new: bytes) -> bool:
    """Whether a file is the same one as it was begun before, by another opening."""
    try:
        before, after = WalHeader.unpack(old), WalHeader.unpack(new)
    except (DamageError, FormatVersionError):
        return False
    same = (before.uuid, before.first_seq) == (after.uuid, after.first_seq)
    return same and len(new) == HEADER_SIZE


def _frames(data: bytes) -> list[tuple[int, int, int, int]]:
    """Start, end, first and last operation of each frame of an undamaged file."""
    salt = WalHeader.unpack(data).salt
    at, found = HEADER_SIZE, []
    while at < len(data):
        frame = unpack_frame(memoryview(data), at, salt)
        assert frame is not None
        last = frame.first_seq + len(frame.operations) - 1
        found.append((at, at + frame.size, frame.first_seq, last))
        at += frame.size
    return found


def covers(directory: Path, applied: int, last: int) -> bool:
    """Whether an undamaged log has every operation after ``applied`` up to ``last``."""
    reached: int | None = None
    for path in sorted(directory.glob("*.wal")):
        first = parse_wal_file(path.name) or 0
        if reached is None and first > applied + 1:
            return False
        reached = max([first - 1, *(frame[3] for frame in _frames(path.read_bytes()))])
    return reached is not None and reached >= last
