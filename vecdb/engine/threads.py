"""Work spread over the processors. Kernels release the GIL, so plain threads do.

The processors are those this process may use, asked for each time: a pinned process has one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")


def processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="vecdb-search")


def together(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """The results of all tasks, the first of which this thread does itself. Raises what the first
    that failed raised, when all have ended."""
    others = [_pool().submit(task) for task in tasks[1:]]
    try:
        first = tasks[0]()
    finally:
        for other in others:
            other.exception()  # waits
    return [first, *(other.result() for other in others)]


# A pool's threads do not live on in a child, but its queue would.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
