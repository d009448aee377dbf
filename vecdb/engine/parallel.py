"""Work spread over the processors. Kernels release the GIL, so plain threads do.

The processors are those this process may use, asked for each time: a pinned process has one. A task
has one, too: the others have tasks of their own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import TypeVar

T = TypeVar("T")

_here = threading.local()
"""``busy``: this thread runs a task."""


def processors() -> int:
    """How many processors work of this thread may be spread over."""
    if getattr(_here, "busy", False):
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="vecdb-search")


def run_all(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Run all tasks and return their results; this thread runs the first itself. When all have
    ended, the first error is raised.

    A task that no thread has begun when this thread is free is run here, too. Tasks may call this
    in turn: if every thread of the pool waited for tasks that others are to begin, none would ever
    begin.
    """
    tasks = [partial(_run, task) for task in tasks]
    others = [(task, _submitted(task)) for task in tasks[1:]]
    try:
        results = [tasks[0]()]
        for task, other in others:
            mine = other is None or other.cancel()
            results.append(task() if mine else other.result())  # type: ignore[union-attr]
        return results
    finally:
        for _, other in others:
            if other is not None and not other.cancel():
                other.exception()  # waits


def _run(task: Callable[[], T]) -> T:
    """Run a task, which has this thread's processor alone."""
    before, _here.busy = getattr(_here, "busy", False), True
    try:
        return task()
    finally:
        _here.busy = before


def _submitted(task: Callable[[], T]) -> Future[T] | None:
    try:
        return _pool().submit(task)
    except RuntimeError:  # the main thread has ended and takes no tasks; others go on searching
        return None


# A pool's threads do not live on in a child, but its queue would.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
