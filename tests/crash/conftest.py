"""Shared by the crash tests: a server of processes to kill, and a fast place for databases."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kill_client import KillServer


@pytest.fixture(scope="module")
def kill_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillServer]:
    server = KillServer(tmp_path_factory.mktemp("kill-server") / "stderr")
    yield server
    server.close()


@pytest.fixture
def fast_path() -> Iterator[Path]:
    """A directory in memory where there is one: a killed process leaves the same there."""
    shared_memory = Path("/dev/shm")
    parent = shared_memory if shared_memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="vecdb-kill-", dir=parent) as path:
        yield Path(path)
    shutil.rmtree(path, ignore_errors=True)
