"""``benchmarks.server``: it does not measure what a load has left to be done."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.server import contenders, milvus
from benchmarks.server.__main__ import Bench
from benchmarks.server.contenders import Contender, Running


def _info(segments: int, status: str = "green", indexed: int = 9) -> dict[str, Any]:
    return {"status": status, "segments_count": segments, "indexed_vectors_count": indexed}


def _running(states: list[dict[str, Any]]) -> Running:
    """A server that shows each state once, and then the last one."""

    def answer(request: httpx.Request) -> httpx.Response:
        if not states:
            raise httpx.ConnectError("refused")
        state = states.pop(0) if len(states) > 1 else states[0]
        return httpx.Response(200, json={"result": state})

    http = httpx.Client(base_url="http://test", transport=httpx.MockTransport(answer))
    return Running(http, psutil.Process(), 1, 2)


def test_it_waits_until_nothing_changes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.server.contenders.time.monotonic", lambda: now[0])
    sleep = "benchmarks.server.contenders.time.sleep"
    monkeypatch.setattr(sleep, lambda seconds: now.__setitem__(0, now[0] + seconds))
    states = [_info(3, indexed=0), *[_info(2)] * 4, _info(2, "yellow"), _info(1)]
    Contender("a", "command").settle(_running(states))
    assert states == [_info(1)]
    assert now[0] > 3 + contenders._REST
    with pytest.raises(RuntimeError, match="at rest"):
        Contender("a", "command").settle(_running([_info(1, "yellow")]))


def test_a_contender_answers_or_not() -> None:
    assert Contender("a", "command").answers(_running([{}]))
    assert not Contender("a", "command").answers(_running([]))
    assert not milvus.Milvus().answers(_running([{}]))


def test_the_least_effort_that_comes_to_a_recall_is_set_last() -> None:
    tried: list[int] = []

    def found(effort: int) -> float:
        tried.append(effort)
        return effort / 100

    assert contenders.least_effort(found, 0.21) == tried[-1] == 24
    assert contenders.least_effort(found, 9.0) == tried[-1] == contenders.EFFORTS[-1]


def test_a_database_that_is_filled_is_found_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled: list[str] = []

    @contextmanager
    def running(self: Contender, directory: Path, cores: Any, sync: str = "") -> Iterator[None]:
        filled.append(f"{self.name} {cores}")
        yield

    monkeypatch.setattr(Contender, "running", running)
    monkeypatch.setattr(Contender, "fill", lambda *_: None)
    options = Namespace(cores=[0, 1])
    bench = Bench(SimpleNamespace(name="d", rows=3), options, tmp_path)  # type: ignore[arg-type]
    own, vecdbs = Contender("x, y", "x {directory}"), Contender("z", "z {filled}")
    for _ in range(2):
        assert bench.filled(bench.vecdb) == bench.filled(vecdbs) == tmp_path / "vecdb"
        assert bench.filled(own) == tmp_path / "x-y"
    assert filled == ["vecdb [0, 1]", "x, y [0, 1]"]
    other = Bench(SimpleNamespace(name="d", rows=4), options, tmp_path)  # type: ignore[arg-type]
    other.filled(own)
    assert filled[2:] == ["x, y [0, 1]"]
