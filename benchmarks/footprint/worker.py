"""A worker that watches what the kernel counts while it searches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.footprint import counters
from benchmarks.worker import K, Worker, main


class Watcher(Worker):
    """The requests of a footprint, besides those of every worker."""

    def do_memory_now(self) -> counters.Counts:
        """Bytes that are resident, the process itself among them."""
        return counters.memory(Path(self._order["directory"]))

    def do_watch(
        self, effort: Any, count: int, seconds: float, each: bool = False
    ) -> dict[str, Any]:
        """Search the first ``count`` queries, or as many as go into ``seconds``.

        What they find, nanoseconds of each, and what the kernel counted meanwhile. ``each``: bytes
        from the disk of each one, too, at the price of two system calls between them.
        """
        found: list[list[int]] = []
        times: list[int] = []
        disk: list[int] = []
        until = time.perf_counter() + seconds
        before = last = counters.events()
        for query in self.queries[:count]:
            started = time.perf_counter_ns()
            ids = self.system.search(query, K, effort)
            times.append(time.perf_counter_ns() - started)
            found.append([int(i) for i in ids])
            if each:
                now = counters.events()
                disk.append(now["disk"] - last["disk"])
                last = now
            if time.perf_counter() > until:
                break
        return {
            "ns": times,
            "found": found,
            "disk": disk,
            "events": counters.difference(counters.events(), before),
        }


if __name__ == "__main__":
    main(Watcher)
