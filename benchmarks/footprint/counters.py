"""What the kernel counts for a process and for files: memory, page faults, bytes read."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

Counts = dict[str, int]

MEMORY = ("anonymous", "files", "database", "private")
"""Bytes resident now: anonymous; pages of files that are mapped; those of the database among
them; and all that no other process shares."""
EVENTS = ("minor", "major", "disk")
"""Since the process began: faults without and with reading, and bytes that came from the disk,
for a page fault or a ``read``."""

_STATUS = {"RssAnon": "anonymous", "RssFile": "files"}


def memory(directory: Path) -> Counts:
    """What is resident of this process."""
    counts = dict.fromkeys(MEMORY, 0)
    for name, kib in _sizes(_lines("/proc/self/status")):
        if name in _STATUS:
            counts[_STATUS[name]] = 1024 * kib
    for name, kib in _sizes(_lines("/proc/self/smaps_rollup")):
        if name in ("Private_Clean", "Private_Dirty"):
            counts["private"] += 1024 * kib
    counts["database"] = of_mappings(_lines("/proc/self/smaps"), directory)
    return counts


def events() -> Counts:
    """What this process has caused until now, in all its threads."""
    # After the name, which may have blanks: the 8th and the 10th field.
    fields = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()
    counts = {"minor": int(fields[7]), "major": int(fields[9]), "disk": 0}
    for line in _lines("/proc/self/io"):
        name, _, value = line.partition(":")
        if name == "read_bytes":
            counts["disk"] = int(value)
    return counts


def difference(later: Counts, earlier: Counts) -> Counts:
    return {name: later[name] - earlier[name] for name in later}


def of_mappings(smaps: Iterable[str], directory: Path) -> int:
    """Resident bytes of the mappings of files below a directory, by the lines of ``smaps``."""
    inside = str(directory.resolve()) + os.sep
    counts, total = False, 0
    for line in smaps:
        first, _, rest = line.partition(" ")
        if not first.endswith(":"):  # "7f…-7f… r--s 00000000 fe:00 1234   /a/file"
            counts = line[line.find("/") :].startswith(inside) if "/" in line else False
        elif counts and first == "Rss:":
            total += 1024 * int(rest.split()[0])
    return total


def cached(directory: Path) -> int:
    """Bytes of a directory's files that are in the page cache, whoever has read them."""
    total = 0
    libc = ctypes.CDLL(None, use_errno=True)
    for path in directory.rglob("*"):
        size = path.stat().st_size if path.is_file() else 0
        if not size:
            continue
        with open(path, "rb") as file:
            # Private, so that the memory counts as writable and its address can be had.
            mapped = mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE)
        here = (ctypes.c_char * size).from_buffer(mapped)
        pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(here)), ctypes.c_size_t(size), pages)
        del here
        mapped.close()
        if failed:
            raise OSError(ctypes.get_errno(), f"mincore of {path}")
        total += mmap.PAGESIZE * sum(page & 1 for page in bytes(pages))
    return total


def read_ahead(directory: Path) -> int | None:
    """How many bytes the kernel reads around a page of a file that is not in memory.

    None: it does not say.
    """
    device = directory.stat().st_dev
    at = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    try:
        return 1024 * int(at.read_text())
    except OSError:
        return None


def _lines(path: str) -> list[str]:
    """The lines of a file of /proc; none where the kernel does not have it."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _sizes(lines: list[str]) -> Iterable[tuple[str, int]]:
    """Names and sizes of lines like ``Rss:   12 kB``."""
    for line in lines:
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB":
            yield name, int(words[0])
