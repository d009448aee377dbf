"""Ways in which a disk refuses. A ``Fault`` says which; how it is done is in ``injectors.py``.

    os       the k-th call of Python's ``os`` that changes files, or reads them, fails
    libc     the same below Python, with ``shim.c``: LMDB's calls, and every read
    tmpfs    a file system that has only so many bytes left
    fsize    no file may grow beyond so many bytes (RLIMIT_FSIZE)

``mode`` is *once*, or *on*: this call and all that follow. *after*: the call is done and then said
to have failed; *after-on*: and all that follow do fail. *lost*: a failed sync takes with it what
was written since the last one, as Linux may. *short*: a write stops half-way and says so, and the
next one fails: *short-once*, *short-on*.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

# Functions of ``os`` by what they do to the disk.
FUNCTIONS = {
    "open": "open",  # "create" with O_CREAT
    "write": "write",
    "writev": "write",
    "pwrite": "write",
    "fsync": "sync",
    "fdatasync": "sync",
    "ftruncate": "truncate",
    "posix_fallocate": "allocate",
    "rename": "rename",
    "replace": "rename",
    "link": "rename",
    "unlink": "remove",
    "remove": "remove",
    "rmdir": "remove",
    "mkdir": "mkdir",
    "close": "close",
    "read": "read",
    "pread": "read",
    "preadv": "read",
    "listdir": "list",
    "scandir": "list",
    "stat": "stat",
}
READS = frozenset({"read", "list", "stat"})
CHANGES = (frozenset(FUNCTIONS.values()) | {"create"}) - READS
ALLOCATING = frozenset({"write", "allocate", "create", "mkdir", "rename"})
"""What needs space. A copy-on-write file system may need some for any other change, too."""

_KINDS_OF_ERROR = {
    "ENOSPC": CHANGES - {"open", "close"},
    "EDQUOT": frozenset({"write"}),  # otherwise as ENOSPC
    "EFBIG": frozenset({"write", "allocate", "truncate"}),
    "EIO": CHANGES,
    "EMFILE": frozenset({"list", "open", "create"}),
}


@dataclass(frozen=True)
class Fault:
    """``where/what/error/mode``, and ``at``: the number of the call, or the bytes that are left.

    ``what``: *changes* or *reads*; of "libc", *catalog* (changes by LMDB) or *reads*.
    """

    where: str
    what: str = "changes"
    error: str = "EIO"
    mode: str = "once"
    at: int = 0

    def __str__(self) -> str:
        return f"{self.where}/{self.what}/{self.error}/{self.mode}/{self.at}"

    @staticmethod
    def parse(text: str) -> Fault:
        """The inverse of ``str``."""
        where, what, error, mode, at = text.split("/")
        return Fault(where, what, error, mode, int(at))

    @property
    def endings(self) -> tuple[str, ...]:
        """Whether it is lifted while the database is open, or after it was closed. One that does
        not last is in the way of closing only if nothing else met it."""
        return ("stay", "close") if self.lasts and self.what != "reads" else ("close",)

    @property
    def lasts(self) -> bool:
        """Whether it goes on until it is lifted."""
        return self.where in ("tmpfs", "fsize") or self.mode in ("on", "short-on", "after-on")

    @property
    def kinds(self) -> frozenset[str]:
        """Of "os": the kinds of calls that count."""
        if self.what == "reads" and self.error == "EIO":
            return READS
        if self.mode.startswith("short"):
            return frozenset({"write"})
        if self.mode == "lost":
            return frozenset({"sync"})
        kinds = _KINDS_OF_ERROR[self.error]
        return kinds & ALLOCATING if self.mode == "on" and self.error != "EIO" else kinds

    @property
    def is_full(self) -> bool:
        """Whether it is no more than a lack of space, and the log can be cut back."""
        return self.error in ("ENOSPC", "EDQUOT", "EFBIG") and self.mode in ("once", "on")


# -- which faults there are ------------------------------------------------------------------

SWEEPS: dict[str, list[Fault]] = {
    "os": [
        *(Fault("os", "changes", e, m) for e in ("ENOSPC", "EIO", "EFBIG") for m in ("once", "on")),
        Fault("os", "changes", "EDQUOT"),
        *(Fault("os", "changes", "EIO", m) for m in ("after", "after-on", "lost")),
        Fault("os", "changes", "ENOSPC", "short"),
        *(Fault("os", "changes", e, m) for e in ("ENOSPC", "EIO", "EFBIG")
          for m in ("short-once", "short-on")),
        *(Fault("os", "reads", "EIO", m) for m in ("once", "on")),
        Fault("os", "reads", "EMFILE", "once"),
    ],
    "libc": [
        *(Fault("libc", "catalog", e, m) for e in ("ENOSPC", "EIO", "EFBIG")
          for m in ("once", "on")),
        *(Fault("libc", "catalog", "EIO", m) for m in ("after", "after-on", "short")),
        *(Fault("libc", "reads", "EIO", m) for m in ("once", "on")),
    ],
    "tmpfs": [Fault("tmpfs", "changes", "ENOSPC", "on")],
    "fsize": [Fault("fsize", "changes", "EFBIG", "on")],
}  # fmt: skip


def numbers(kind: Fault, seen: Mapping[str, int]) -> list[int]:
    """What ``at`` runs through, by what was seen without a fault: each call; each page that is
    left, until nothing can need more; ever larger files, until none is larger."""
    page = os.sysconf("SC_PAGE_SIZE")
    if kind.where == "os":
        return list(range(1, sum(seen.get(name, 0) for name in kind.kinds) + 1))
    if kind.where == "libc":
        return list(range(1, seen[kind.what] + 1))
    if kind.where == "tmpfs":
        most = seen["bytes"] // page + seen["create"] + seen["mkdir"] + 16  # LMDB's
        return list(range(0, most * page, page))
    sizes = [64]
    while sizes[-1] <= max(seen["longest"], 32 * page):
        sizes.append(sizes[-1] + max(128, sizes[-1] // 16))
    return sizes
