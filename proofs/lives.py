"""Processes that are meant to die: forked, listened to, killed.

Forking costs milliseconds where starting Python, numpy and numba costs a second, as long as the
parent has imported everything (``load``), runs no thread and has no database open.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Say = Callable[..., None]

PATIENCE = 120
"""How often one may listen for a second, and hear nothing, until a process is said to hang. Not a
time: all of it may be stopped, or the machine asleep, for hours."""


_MODULES = (
    "lmdb",
    "vecdb.database",
    "vecdb.engine.repair.check",
    "vecdb.engine.memory.report",
    "vecdb.kernels.clustering",
    "vecdb.kernels.codes",
    "vecdb.kernels.distance",
    "vecdb.kernels.nearest",
    "vecdb.kernels.partitions",
    "vecdb.kernels.residuals",
)


def load() -> None:
    """Import what the processes need, once for all of them."""
    for name in _MODULES:
        importlib.import_module(name)
    import tqdm

    tqdm.tqdm.monitor_interval = 0  # its thread would be forked, too
    faulthandler.enable()


class Wrong(Exception):
    """Something is not as it must be; the message says all there is to say."""


class Life:
    """One forked process, that runs ``work(say)``: ``say(name=value)`` tells its parent.

    An exception in it is said as ``problem``. Leaving the ``with`` block kills what still lives.
    """

    def __init__(self, work: Callable[[Say], None]) -> None:
        self._pipe, pipe = os.pipe()
        self._rest = b""
        self.over = False
        """It has said everything: it is dead, or about to be."""
        self.exit_code: int | None = None
        """Negative: the signal that killed it."""
        sys.stdout.flush()
        sys.stderr.flush()
        # Ctrl-C in the middle of a fork would be forgotten: what hooks of a fork raise is ignored.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self.pid = os.fork()
        if self.pid == 0:
            _live(work, pipe)
        os.close(pipe)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        except KeyboardInterrupt:
            self.__exit__()
            raise

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *args: object) -> None:
        if self.exit_code is None:
            self.kill()
        os.close(self._pipe)

    def hear(self, seconds: int = PATIENCE) -> list[Message]:
        """What it says within some seconds; waits no longer than for the first of it."""
        ready: list[int] = []
        while not (ready or self.over) and seconds > 0:
            ready, _, _ = select.select([self._pipe], [], [], 1.0)
            seconds -= 1
        if not ready:
            return []
        data = os.read(self._pipe, 1 << 20)
        self.over = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def listen(self) -> list[Message]:
        """All it has to say until it ends; it is waited for. One that hangs is ended."""
        messages: list[Message] = []
        while not self.over:
            heard = self.hear()
            messages += heard
            if not heard and not self.over:
                messages.append({"problem": self.hang()})
        self._wait()
        return messages

    def kill(self) -> list[Message]:
        """SIGKILL; what it had said that was not heard yet."""
        os.kill(self.pid, signal.SIGKILL)
        self._wait()
        messages = []
        while not self.over:
            messages += self.hear()
        return messages

    def hang(self) -> str:
        """End a process that hangs; faulthandler shows on standard error where it did."""
        os.kill(self.pid, signal.SIGABRT)
        return f"process {self.pid} was silent for {PATIENCE} s"

    def _wait(self) -> None:
        if self.exit_code is None:
            _, status = os.waitpid(self.pid, 0)
            self.exit_code = os.waitstatus_to_exitcode(status)


def _live(work: Callable[[Say], None], pipe: int) -> None:
    """The whole life of the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which kills us
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def say(**message: Any) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(pipe, data) :]

    code = 1
    try:
        work(say)
        code = 0
    except Wrong as wrong:
        say(problem=str(wrong)[:4000])
    except BaseException:
        say(problem=traceback.format_exc()[-4000:])
    finally:
        os._exit(code)


def answer(work: Callable[[], Message]) -> Message:
    """What ``work`` returns in a process of its own; ``problem`` if it died instead."""
    with Life(lambda say: say(**work())) as life:
        messages = life.listen()
    found = {key: value for message in messages for key, value in message.items()}
    if life.exit_code != 0 and "problem" not in found:
        found["problem"] = f"a process died with exit code {life.exit_code}"
    return found


def disk_bytes(path: Path) -> int:
    """What all files below a path take on disk. Optimizers may remove some meanwhile."""
    taken = 0
    for directory, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                taken += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return taken


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Milliseconds: the median, the 99th percentile and the longest."""
    ordered = sorted(seconds) or [0.0]
    last = len(ordered) - 1
    positions = {"p50": round(last * 0.5), "p99": round(last * 0.99), "max": last}
    return {name: round(ordered[position] * 1000, 2) for name, position in positions.items()}


def setting() -> Message:
    """Where and when figures were measured, and the processor time that they took."""
    import platform

    import vecdb

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "cpu_seconds": round(sum(u.ru_utime + u.ru_stime for u in used), 1),
        "vecdb": vecdb.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "date": time.strftime("%Y-%m-%d"),
    }
