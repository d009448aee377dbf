"""Work in a few child processes: one that dies of a signal is a result, not the end.

Children are forked from a parent that is warm (everything imported, the kernels loaded) and has
no thread. Each takes one job after another, which costs less than a fork for each. One that died,
hung or found something wrong is replaced.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")

_PATIENCE = 120.0
"""Seconds after which a child hangs. If everything is stopped for a while, that counts as one."""


class Failed(str):
    """What became of a child that gave no answer."""


class _Child:
    """A process that answers ``work(request, slot)`` for each request it is sent."""

    def __init__(self, slot: Path, work: Callable[[Any, Path], Any]) -> None:
        self.slot = slot
        self.work = work
        self.item: Any = None
        self.patience = 0.0
        self.pipe, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.pipe.close()
                _serve(theirs, slot, work)
            finally:
                os._exit(0)
        theirs.close()

    def give(self, item: Any, request: Any) -> None:
        """Let it work."""
        self.item, self.patience = item, _PATIENCE
        self.pipe.send(request)

    def answer(self) -> Any:
        """What it sent; ``Failed`` if it died, or if its time is over."""
        if not self.pipe.poll():
            self.end()
            return Failed(f"hangs for {_PATIENCE:.0f} seconds")
        try:
            return self.pipe.recv()
        except EOFError:
            status = self.end(kill=False)
        if os.WIFSIGNALED(status):
            return Failed(f"killed by {signal.Signals(os.WTERMSIG(status)).name}")
        return Failed("the child ended without an answer")

    def end(self, *, kill: bool = True) -> int:
        """See that it is gone; its status."""
        if self.pid == 0:
            return 0
        self.pipe.close()
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return status


def _serve(pipe: Connection, slot: Path, work: Callable[[Any, Path], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to act on
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(work(request, slot))
        except BaseException as error:
            pipe.send(Failed(f"{type(error).__name__}: {error}"))


def in_children(
    items: Iterable[Item],
    prepare: Callable[[Item, Path], Any],
    work: Callable[[Any, Path], Any],
    directory: Path,
    jobs: int,
) -> Iterator[tuple[Item, Any]]:
    """Each item with its answer, in the order in which they come.

    ``prepare`` fills a directory, here and before the next item is asked for; ``work`` is called
    with what it returned, in a child, and uses the directory.
    """
    idle = [_Child(directory / f"slot{n}", work) for n in range(jobs)]
    busy: list[_Child] = []
    try:
        for item in items:
            child = idle.pop()
            child.give(item, prepare(item, child.slot))
            busy.append(child)
            while not idle:
                yield from _answers(busy, idle)
        while busy:
            yield from _answers(busy, idle)
    finally:
        for child in [*busy, *idle]:
            child.end()
            shutil.rmtree(child.slot, ignore_errors=True)


def _answers(busy: list[_Child], idle: list[_Child]) -> Iterator[tuple[Any, Any]]:
    """Waits for at least one; but not for long, and then there may be none."""
    started = time.monotonic()
    ready = wait([child.pipe for child in busy], 1.0)
    passed = min(time.monotonic() - started, 1.0)
    for child in list(busy):
        child.patience -= passed
        if child.pipe in ready or child.patience <= 0:
            answer = child.answer()
            busy.remove(child)
            if isinstance(answer, Failed):  # it may have left a database open
                child.end()
                idle.append(_Child(child.slot, child.work))
            else:
                idle.append(child)
            yield child.item, answer
