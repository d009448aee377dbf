"""One system in a process of its own, told over a pipe what to do, a line of JSON at a time.

    python -m benchmarks.worker '{"system": …, "directory": …, "base": …, "queries": …, …}'

A request is ``{"do": name, …}``, the answer ``{"ok": …}`` or ``{"error": text}``. Vectors come
from files. Standard output is the pipe; what libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

K = 10


def status() -> dict[str, int]:
    """Resident memory of this process in bytes: anonymous, and pages of files."""
    fields = {"RssAnon": 0, "RssFile": 0}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in fields:
            fields[name] = 1024 * int(value.split()[0])
    return fields


class Worker:
    """The requests, a method each: ``do_<name>``."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._before = status()  # python and numpy, nothing else
        from benchmarks.systems import load

        self._order = order
        queries = np.load(order["queries"]).astype(np.float32)[: order["limit"]]
        if order["metric"] == "cosine":
            norms = np.linalg.norm(queries, axis=1, keepdims=True)
            queries /= np.where(norms > 0, norms, 1)
        self.queries = queries
        self.system = load(order["system"])(
            Path(order["directory"]), queries.shape[1], order["metric"], len(order["cores"])
        )
        if order["arranged"]:
            self.system.arrange(**order["arranged"])

    def do_describe(self) -> dict[str, Any]:
        system = self.system
        return {"efforts": list(system.efforts), "note": system.note}

    def do_hold(self) -> None:
        self.system.hold()

    def do_ingest(self) -> dict[str, float]:
        from benchmarks.data import prepared

        base = prepared(np.load(self._order["base"], mmap_mode="r"), self._order["metric"])
        return self._timed(lambda: self.system.ingest(base))

    def do_build(self) -> dict[str, float]:
        taken = self._timed(self.system.build)
        self.system.ready()
        return taken

    def do_move(self) -> None:
        self.system.move()

    def do_open(self) -> dict[str, float]:
        return self._timed(self.system.open)

    def do_close(self) -> None:
        self.system.close()

    def do_memory(self) -> dict[str, int]:
        now = status()
        return {name: now[name] - self._before[name] for name in now}

    def do_pin(self, cores: list[int]) -> None:
        """All threads there are; those to come inherit it."""
        for thread in os.listdir("/proc/self/task"):
            try:
                os.sched_setaffinity(int(thread), cores)
            except ProcessLookupError:
                pass
        self.system.use_threads(len(cores))

    def do_fields(self, path: str, indexed: bool) -> None:
        """Before ``ingest``: what payload there is, from a file of JSON."""
        self.system.fields = json.loads(Path(path).read_text())
        self.system.indexed = indexed

    def do_find(
        self, effort: Any, start: int, count: int, between: list[Any] | None = None
    ) -> dict[str, Any]:
        """What ``count`` queries find and how long each takes. Goes round in the queries, and in
        the filters, if there are any."""
        search: Callable[..., Any] = self.system.search_between if between else self.system.search
        found, times = [], []
        chosen: list[tuple[Any, ...]] = [
            (self.queries[i % len(self.queries)], K, effort) for i in range(start, start + count)
        ]
        if between:
            filters = (between[i % len(between)] for i in range(start, start + count))
            chosen = [(*rest, one) for rest, one in zip(chosen, filters, strict=True)]
        for arguments in chosen:
            started = time.perf_counter_ns()
            ids = search(*arguments)
            times.append(time.perf_counter_ns() - started)
            found.append(ids)
        return {"ns": times, "found": [[int(i) for i in ids] for ids in found]}

    def do_time(
        self, effort: Any, start: int, count: int, warm: int, between: list[Any] | None = None
    ) -> list[int]:
        """Nanoseconds of each of ``count`` queries, after ``warm`` others: caches were lost."""
        self.do_find(effort, start - warm, warm, between)
        times: list[int] = self.do_find(effort, start, count, between)["ns"]
        return times

    def do_index(self, effort: Any, idle: int) -> dict[str, Any]:
        """Gives each field its index, once alone and once while searches follow one another, and
        takes them away again: seconds of each, and µs of the searches, before and meanwhile."""
        alone = self._timed(self.system.create_indexes)["seconds"]
        self.system.delete_indexes()
        number = 0
        before: list[float] = []
        during: list[float] = []

        def once() -> float:
            nonlocal number
            number += 1
            started = time.perf_counter()
            self.system.search(self.queries[number % len(self.queries)], K, effort)
            return 1e6 * (time.perf_counter() - started)

        until = time.perf_counter() + 5  # a search without an index of vectors can take long
        while len(before) < idle and (time.perf_counter() < until or not before):
            before.append(once())
        with ThreadPoolExecutor(1) as pool:
            started = time.perf_counter()
            created = pool.submit(self.system.create_indexes)
            while not created.done():
                during.append(once())
            created.result()
            seconds = time.perf_counter() - started
        self.system.delete_indexes()
        return {"alone": alone, "seconds": seconds, "before": before, "during": during}

    def do_batch(self, effort: Any, start: int, count: int) -> dict[str, Any]:
        """The same queries one by one and as one batch: seconds of each, and what it finds."""
        chosen = np.array(
            [self.queries[i % len(self.queries)] for i in range(start, start + count)]
        )
        self.system.batch(chosen[:2], K, effort)
        started = time.perf_counter()
        for query in chosen:
            self.system.search(query, K, effort)
        middle = time.perf_counter()
        found = self.system.batch(chosen, K, effort)
        ended = time.perf_counter()
        return {
            "single": middle - started,
            "batch": ended - middle,
            "found": [[int(i) for i in ids] for ids in found],
        }

    def do_busy(self, effort: Any, every: float, idle: int) -> dict[str, Any] | None:
        """Milliseconds of a search every ``every`` s: before, during and after the build.

        Counted from when a search is due: one that could not even start, because the build held
        Python's lock, has waited too. After one that took too long the next is due at once.
        """
        if not self.system.database:
            return None
        due, number = 0.0, 0

        def once() -> float:
            nonlocal due, number
            time.sleep(max(0.0, due - time.perf_counter()))
            self.system.search(self.queries[number % len(self.queries)], K, effort)
            number += 1
            ended = time.perf_counter()
            waited, due = 1e3 * (ended - due), max(due + every, ended)
            return waited

        def some(count: int) -> list[float]:
            nonlocal due
            due = time.perf_counter()
            return [once() for _ in range(5 + count)][5:]  # the first ones are not warm

        before = some(idle)
        error: list[BaseException] = []

        def build() -> None:
            try:
                self.system.build()
            except BaseException as caught:
                error.append(caught)

        builder = threading.Thread(target=build)
        during: list[float] = []
        started = due = time.perf_counter()
        builder.start()
        while builder.is_alive() or not during:
            during.append(once())
        seconds = time.perf_counter() - started
        if error:
            raise error[0]
        after = some(idle)
        return {"before": before, "during": during, "after": after, "build_seconds": seconds}

    def _timed(self, call: Any) -> dict[str, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        return {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def main(make: type[Worker] = Worker) -> None:
    """Answer requests until the pipe is closed."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = json.loads(sys.argv[1])
    os.sched_setaffinity(0, order["cores"])
    worker = make(order)
    if order.get("first"):  # a cold start: open, search, answer
        worker.do_open()
        found = worker.do_find(order["first"]["effort"], 0, 1)["found"]
        print(json.dumps({"ok": found}), file=pipe, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": getattr(worker, f"do_{request.pop('do')}")(**request)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=pipe, flush=True)
    # The pipe is closed. Some libraries hang or crash while an interpreter ends; nothing is left
    # to be saved.
    os._exit(0)


if __name__ == "__main__":
    main()
