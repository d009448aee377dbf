"""A process that forks others to be killed: importing vecdb and numba once makes one of them cost
milliseconds. Reads jobs from standard input, one JSON a line; answers ``{"pid": …}`` when one has
begun and ``{"status": …}`` (of ``waitpid``) when it is over.

A job: ``path`` of the database, ``sync``, ``acks`` (a file or pipe that gets a line for every step
that returned), ``steps`` or ``seed`` and ``first`` (endless writes), and perhaps ``kill_at``: the
number of the file operation at which the process kills itself.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import workloads

from vecdb import VecDB
from vecdb.kernels import clustering, codes, distance  # noqa: F401 - loaded once, for all
from vecdb.storage import fs
from vecdb.storage.catalog import Catalog


def kill_self() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


class KillPoints:
    """Counts every operation that changes files, and half operations, and dies at one of them."""

    def __init__(self, kill_at: int) -> None:
        self._left = kill_at

    def point(self) -> bool:
        self._left -= 1
        return self._left == 0

    def install(self) -> None:
        names = ("make_dir", "sync_dir", "sync_file", "rename", "remove_file", "write_file")
        for name in names:
            setattr(fs, name, self._before(getattr(fs, name)))
        fs.remove_tree = self._remove_tree(fs.remove_tree)
        fs.AppendFile.append = self._append(fs.AppendFile.append)
        for name in ("sync", "truncate", "close"):
            setattr(fs.AppendFile, name, self._before(getattr(fs.AppendFile, name)))
        Catalog.commit = self._around(Catalog.commit)

    def _before(self, function: Any) -> Any:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self.point():
                kill_self()
            return function(*args, **kwargs)

        return wrapped

    def _around(self, function: Any) -> Any:
        before = self._before(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = before(*args, **kwargs)
            if self.point():
                kill_self()
            return result

        return wrapped

    def _append(self, function: Any) -> Any:
        """Nothing, half, or all but one byte of it is written."""

        def wrapped(file: Any, buffers: Any) -> None:
            if self.point():
                kill_self()
            data = b"".join(
                bytes(memoryview(buffer).cast("B")) for buffer in buffers if len(buffer)
            )
            for length in (len(data) // 2, len(data) - 1):
                if self.point():
                    function(file, [data[:length]])
                    kill_self()
            function(file, buffers)

        return wrapped

    def _remove_tree(self, function: Any) -> Any:
        """Nothing, one file, or all of the files of it but not the directories."""

        def wrapped(path: Path) -> None:
            if self.point():
                kill_self()
            files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else []
            for count in {1, len(files)}:
                if self.point():
                    for file in files[:count]:
                        file.unlink()
                    kill_self()
            function(path)

        return wrapped


def run(job: dict[str, Any]) -> None:
    acks = os.open(job["acks"], os.O_WRONLY | os.O_APPEND)
    if "kill_at" in job:
        KillPoints(job["kill_at"]).install()
    db = VecDB(job["path"], sync=job.get("sync", "always"))
    if "steps" in job:
        numbered: Any = enumerate(job["steps"])
    else:
        numbered = (
            (n, workloads.write_step(job["seed"], n)) for n in itertools.count(job["first"])
        )
    for number, step in numbered:
        if step["do"] == "kill":
            kill_self()
        workloads.take(db, step)
        os.write(acks, b"ACK %d\n" % number)
    db.close()
    os.write(acks, b"CLOSED\n")


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                run(json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": status}), flush=True)


if __name__ == "__main__":
    main()
