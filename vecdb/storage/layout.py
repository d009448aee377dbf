"""Every file and directory name, made and parsed here.

::

    <database>/
      FORMAT                     format version and uuid, one checked line
      LOCK                       flock target, never removed
      ALIASES                    other names of collections; not there before the first
      TEMPORARY                  of one in memory: it may be removed when its process is gone
      collections/<name>/
        FORMAT
        catalog/data.mdb         LMDB: the only truth about what exists
        wal/<first seq>.wal
        segments/<id>/           manifest ids order seqs payload payload-offsets
                                 vectors[.<name>] present[.<name>]
                                 codes[.<name>] quantizer[.<name>]
                                 sketch[.<name>] index[.<name>]
                                 sparse-offsets[.<name>] sparse-indices[.<name>]
                                 sparse-values[.<name>] terms[.<name>] postings[.<name>]
                                 token-offsets[.<name>] tokens[.<name>]
                                 token-index[.<name>] token-labels[.<name>]
                                 payload-edits.<seq> column.<field>
      snapshots/                 full-snapshot-<number>-<time>.snapshot and .snapshot.sha256
      snapshots/<name>/          <name>-<number>-<time>.snapshot and .snapshot.sha256

Parsing returns None for strangers' names, so cleaning up can never touch a file that is not ours.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from urllib.parse import unquote_to_bytes

import xxhash

FORMAT = "FORMAT"
WITHDRAWN = "WITHDRAWN"
"""The name of the FORMAT of a restored collection that is not to take its place."""
LOCK = "LOCK"
TEMPORARY = "TEMPORARY"
ALIASES = "ALIASES"
COLLECTIONS = "collections"
CATALOG = "catalog"
WAL = "wal"
SEGMENTS = "segments"
SNAPSHOTS = "snapshots"
SNAPSHOT = ".snapshot"
SHA256 = ".sha256"
FULL = "full-snapshot"
COLUMN = "column"

_NEW = ".new-"
_DROPPED = ".dropped-"
_RESTORED = ".restored-"
_NAME_LIMIT = 180  # file systems stop at 255 bytes; leaves room for a prefix such as "quantizer."
_PLAIN = re.compile(r"[a-z0-9_-]")


def escape(name: str) -> str:
    """A file name for any text: distinct texts get distinct names, even where case is ignored.

    Lower-case letters, digits, ``_`` and ``-`` stay; every other byte of the UTF-8 form becomes
    ``%xx``. A result beyond 180 bytes is cut and ends in the text's 128-bit hash.
    """
    escaped = "".join(
        c if _PLAIN.fullmatch(c) else "".join(f"%{b:02x}" for b in c.encode("utf-8")) for c in name
    )
    if len(escaped) <= _NAME_LIMIT:
        return escaped
    return f"{escaped[:120]}~{xxhash.xxh3_128_hexdigest(name.encode('utf-8'))}"


def unescape(file_name: str) -> str:
    """The text that ``escape`` turned into this; the file name itself if it cannot be told."""
    try:
        name = unquote_to_bytes(file_name).decode("utf-8")
    except UnicodeDecodeError:
        return file_name
    return name if escape(name) == file_name else file_name


def new_dir() -> str:
    """A name for a directory under construction."""
    return f"{_NEW}{os.urandom(8).hex()}"


def dropped_dir() -> str:
    """A name for a directory that is about to be removed."""
    return f"{_DROPPED}{os.urandom(8).hex()}"


def is_leftover(name: str) -> bool:
    """Whether a crash left this behind: under construction, or about to be removed."""
    return re.fullmatch(r"\.(new|dropped)-[0-9a-f]{16}", name) is not None


def may_be_place(name: str) -> bool:
    """Whether something of this name, beside collections, may be one, damaged or not. A disk that
    is mounted there has a directory of its own."""
    return not name.startswith(".") and name != "lost+found"


def restored_dir(escaped: str) -> str:
    """The name of a collection that is whole and about to replace the one called ``escaped``."""
    return _RESTORED + escaped


def parse_restored_dir(name: str) -> str | None:
    """The escaped name of the collection that the restored one in this directory replaces, or
    None."""
    match = re.fullmatch(rf"{re.escape(_RESTORED)}([a-z0-9_%~-]+)", name)
    return match[1] if match else None


def wal_file(first_seq: int) -> str:
    """The WAL file whose first frame starts with ``first_seq``."""
    return f"{first_seq:020d}.wal"


def parse_wal_file(name: str) -> int | None:
    """``first_seq`` of a WAL file name, or None."""
    match = re.fullmatch(r"([0-9]{20})\.wal", name)
    return int(match[1]) if match else None


def segment_dir(segment_id: int) -> str:
    """The directory of a segment."""
    return f"{segment_id:016x}"


def parse_segment_dir(name: str) -> int | None:
    """The id of a segment directory, or None."""
    return int(name, 16) if re.fullmatch(r"[0-9a-f]{16}", name) else None


def edits_file(seq: int) -> str:
    """The name of the file of a segment's payload edits, as of operation ``seq``. It sorts by
    ``seq``."""
    return f"payload-edits.{seq:020d}"


def parse_edits_file(name: str) -> int | None:
    """``seq`` from the name of a file of payload edits, or None."""
    match = re.fullmatch(r"payload-edits\.([0-9]{20})", name)
    return int(match[1]) if match else None


def is_column(name: str) -> bool:
    """Whether a file of a segment is the column of a field."""
    return name.startswith(f"{COLUMN}.")


def snapshot_file(prefix: str, number: int, moment: datetime) -> str:
    """The name of a snapshot: of the collection with this escaped name, or of all. It sorts by
    number."""
    return f"{prefix}-{number:06d}-{moment:%Y-%m-%d-%H-%M-%S}{SNAPSHOT}"


def parse_snapshot_file(name: str) -> int | None:
    """The number of a snapshot; 0 if its name was not made here; None if it is none."""
    match = re.fullmatch(r"(?:[a-z0-9_%~-]+-)(\d{6,})-\d{4}(?:-\d\d){5}\.snapshot", name)
    if match:
        return int(match[1])
    return 0 if re.fullmatch(r"[^./\0][^/\0]*\.snapshot", name) else None


def file_of(kind: str, name: str) -> str:
    """The file of one kind (vectors, present, codes, sketch, column, …) for one vector name, or one
    field of the payload."""
    return f"{kind}.{escape(name)}" if name else kind
