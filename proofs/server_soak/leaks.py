"""Leaks: what a server holds while nobody asks it anything, and whether that becomes more."""

from __future__ import annotations

import asyncio
import re
import time

import httpx
import psutil
from msgspec import Struct, structs

from proofs.server_soak.points import NAME
from proofs.serving import Server

_MB = 1 << 20
_QUIET = 0.5
_LONGEST = 60.0
"""Seconds until what was given up must have ended."""


class Holdings(Struct, frozen=True):
    """What the processes of a server have at rest. ``tasks`` are those of event loops, ``waiting``
    the reads that have a thread, ``in_flight`` the requests under way but for the one that asks,
    ``data_bytes`` what of ``private_bytes`` the points take, rows in memory above all: they become
    more until a checkpoint, in each process that has the database open."""

    descriptors: int
    threads: int
    tasks: int
    waiting: int
    in_flight: int
    private_bytes: int
    data_bytes: int


async def at_rest(server: Server, workers: int) -> Holdings:
    """The holdings of a server of so many workers as soon as nothing is under way, or after a
    minute all the same."""
    deadline = time.monotonic() + _LONGEST
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as http:
        while True:
            await asyncio.sleep(_QUIET)  # also for a write that was given up, and is in a thread
            figures = (await http.get("/metrics")).text
            held = Holdings(
                descriptors=_figure(figures, "process_open_fds"),
                threads=_figure(figures, "process_threads"),
                tasks=_figure(figures, "vecdb_tasks"),
                waiting=_figure(figures, "vecdb_reads_waiting"),
                in_flight=_figure(figures, "vecdb_in_flight") - 1,
                private_bytes=_private_bytes(server),
                data_bytes=workers * await _data_bytes(http),
            )
            if (not held.waiting and not held.in_flight) or time.monotonic() > deadline:
                return held


def _private_bytes(server: Server) -> int:
    process = psutil.Process(server.process.pid)
    processes = [process, *process.children(recursive=True)]
    return sum(each.memory_full_info().uss for each in processes)


async def _data_bytes(http: httpx.AsyncClient) -> int:
    """Of the collection, in each of the processes."""
    answer = await http.get(f"/vecdb/collections/{NAME}/memory")
    return int(answer.raise_for_status().json()["result"]["total"]["anonymous"])


def _figure(text: str, name: str) -> int:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return int(float(found[1]))


_BESIDE = "private_bytes beside the points"
_SLACK = {"descriptors": 24, "threads": 24, "tasks": 4, _BESIDE: 16 * _MB}
"""By so much they differ without a leak: files of segments come and go, pools of threads are filled
when they are needed, and the C library keeps some of what was freed. A leak has thousands of
requests to grow in."""


def growth(rests: list[Holdings]) -> list[str]:
    """What has grown from the first third of the rests to the last, in words."""
    third = max(1, len(rests) // 3)
    judged = [_judged(each) for each in rests]
    problems = []
    for field in judged[0]:
        before = max(each[field] for each in judged[:third])
        after = min(each[field] for each in judged[-third:])
        allowed = before + _SLACK.get(field, 0)
        if field == _BESIDE:
            allowed += before // 8
        if field in ("waiting", "in_flight"):
            allowed = 0
        if after > allowed:
            problems.append(f"{field}: {before} at first, {after} at the end")
    return problems


def _judged(held: Holdings) -> dict[str, int]:
    """What must not grow: all of it, but the points' memory."""
    figures: dict[str, int] = structs.asdict(held)
    figures[_BESIDE] = figures.pop("private_bytes") - figures.pop("data_bytes")
    return figures
