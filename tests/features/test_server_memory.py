"""The memory of ``vecdb serve``: what was freed is kept in few places."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import psutil
import pytest
from serving import new_collection, put, result, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

_ARENA = 64 << 20
"""glibc reserves so much address space for one, at a multiple of that."""


def arenas(process: psutil.Process) -> int:
    """How many a process has beside the one for its first thread."""
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    starts = re.findall(r"^(\w+)-\w+ rw-p 00000000 00:00 0 *$", maps, re.MULTILINE)
    return sum(int(start, 16) % _ARENA == 0 for start in starts)


@pytest.mark.parametrize("workers", [1, 2])
def test_threads_share_arenas(tmp_path: Path, workers: int) -> None:
    """Each thread had its own, up to 16 here, and each kept what the largest answers took."""
    options = ("--workers", str(workers), "--grpc-port", "0")
    with serving(tmp_path / "db", *options) as running, running.http() as http:
        path = new_collection(http, "c")
        put(http, path, {"id": 1, "vector": [1, 2, 3, 4]})
        assert result(http.post(f"{path}/points/count", json={})) == {"count": 1}
        server = psutil.Process(running.process.pid)
        # The first process of several reads no requests, and its children are those that do.
        serve = [server] if workers == 1 else server.children()
        assert all(arenas(process) <= 1 for process in serve)
