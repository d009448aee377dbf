"""Shared by the crash tests: a server of processes to kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kill_client import KillServer


@pytest.fixture(scope="module")
def kill_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillServer]:
    server = KillServer(tmp_path_factory.mktemp("kill-server") / "stderr")
    yield server
    server.close()
