"""The rows of a catalog whose file is damaged, found without LMDB.

LMDB trusts its file: with a wrong number in a page it reads where nothing is. So its pages
(``mdb.c`` of LMDB 0.9, little-endian, 64 bits) are read here as bytes, every offset checked. Each
of our rows carries a checksum of its key and value, so any row found in the file was once written.
Only the trees tell which of several is the newest::

    page    0   8    its own number
            10  2    flags: 1 branch, 2 leaf
            12  2    end of the list of node offsets, which starts at byte 16
    node    0   4    size of the value; in a branch, with the flags, the number of the child page
            4   2    flags: 1, the value is in pages of its own
            6   2    size of the key, which follows; then the value, or the number of its first page
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from msgspec import Struct, field

from vecdb.storage.format import DamageError, unpack_row

_MAGIC = 0xBEEFC0DE
_PAGE_SIZES = [512 << n for n in range(8)]
_PAGE_HEADER = 16
_BRANCH, _LEAF = 1, 2
_BIG = 1
_EMPTY_TREE = (1 << 64) - 1

_PAGE = struct.Struct("<QHHH")  # number, unused, flags, end of the node offsets
_NODE = struct.Struct("<HHHH")  # value size (low, high), flags, key size
_META = struct.Struct("<16xI108xQQQ")  # magic, then root, last page and transaction
_KEY = re.compile(rb"config|state|(?:segment|alive)/[0-9a-f]{16}")


class CatalogRows(Struct):
    """What is left of a catalog. Values are without their checksums."""

    trees: list[dict[bytes, bytes]] = field(default_factory=list)
    """The rows that each of the two last states reaches, the newest state first."""
    found: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Every whole row of the file, old states' included."""
    problems: list[str] = field(default_factory=list)

    def values(self, key: bytes) -> list[bytes]:
        """The values of a key, those of the newest state first."""
        known = [tree[key] for tree in self.trees if key in tree]
        return list(dict.fromkeys([*known, *self.found.get(key, [])]))


def rows_of(data: bytes) -> CatalogRows:
    """All that can be found in the bytes of ``data.mdb``."""
    page_size = max(_PAGE_SIZES, key=lambda size: _numbered_pages(data, size))
    rows = CatalogRows()
    metas = []
    for at in (0, page_size):
        if at + _META.size <= len(data):
            magic, root, _, transaction = _META.unpack_from(data, at)
            if magic == _MAGIC:
                metas.append((transaction, root))
    if len(metas) < 2:
        rows.problems.append("a meta page is damaged")
    for _, root in sorted(metas, reverse=True):
        tree: dict[bytes, bytes] = {}
        try:
            for key, value in _walk(data, page_size, root):
                tree[key] = value
        except DamageError as error:
            if not rows.trees:  # pages of the older state may have been written over
                rows.problems.append(str(error))
        rows.trees.append(tree)
    for key, raw in _scan(data, page_size):
        try:
            value = unpack_row(key, raw)
        except DamageError:
            continue
        if value not in rows.found.setdefault(key, []):
            rows.found[key].append(value)
    return rows


def _numbered_pages(data: bytes, page_size: int) -> int:
    """How many pages carry their own number, if pages have this size."""
    pages = range(2, len(data) // page_size)
    return sum(data[p * page_size : p * page_size + 8] == p.to_bytes(8, "little") for p in pages)


def _walk(data: bytes, page_size: int, root: int) -> Iterator[tuple[bytes, bytes]]:
    """The rows of one tree. Raises DamageError at the end if some of it could not be read."""
    problem = ""
    pending = [] if root == _EMPTY_TREE else [root]
    seen = set()
    while pending:
        page = pending.pop()
        at = page * page_size
        if page in seen or at + page_size > len(data):
            problem = f"page {page} is not in the file, or in the tree twice"
            continue
        seen.add(page)
        number, _, flags, lower = _PAGE.unpack_from(data, at)
        if number != page or flags not in (_BRANCH, _LEAF) or not 16 <= lower <= page_size:
            problem = f"page {page} is damaged"
            continue
        for offset in struct.unpack_from(f"<{(lower - 16) // 2}H", data, at + _PAGE_HEADER):
            try:
                low, high, more, key_size = _NODE.unpack_from(data, at + offset)
                if flags == _BRANCH:
                    pending.append(low | high << 16 | more << 32)
                    continue
                key = data[at + offset + 8 : at + offset + 8 + key_size]
                value = unpack_row(key, _value(data, page_size, at + offset, key_size))
            except (struct.error, DamageError):
                problem = f"a row of page {page} is damaged"
            else:
                yield key, value
    if problem:
        raise DamageError(problem)


def _scan(data: bytes, page_size: int) -> Iterator[tuple[bytes, bytes]]:
    """Everything that looks like one of our rows, in a page of the tree or not."""
    for match in _KEY.finditer(data):
        at = match.start() - 8
        if at < 0:
            continue
        *_, key_size = _NODE.unpack_from(data, at)
        if key_size == len(match[0]):
            try:
                yield match[0], _value(data, page_size, at, key_size)
            except struct.error:
                pass


def _value(data: bytes, page_size: int, at: int, key_size: int) -> bytes:
    """The value of the node at ``at``, cut short where the file ends. Raises struct.error."""
    low, high, flags, _ = _NODE.unpack_from(data, at)
    size = low | high << 16
    start = at + 8 + key_size
    if flags & _BIG:
        (page,) = struct.unpack_from("<Q", data, start)
        start = page * page_size + _PAGE_HEADER
    return data[start : start + size]
