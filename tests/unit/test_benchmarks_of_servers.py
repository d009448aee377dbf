"""``benchmarks.server``: it does not measure what a load has left to be done."""

from __future__ import annotations

from typing import Any

import httpx
import psutil
import pytest

from benchmarks.server import contenders, milvus
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
    contenders._wait_for_rest(_running(states))
    assert states == [_info(1)]
    assert now[0] > 3 + contenders._REST
    with pytest.raises(RuntimeError, match="at rest"):
        contenders._wait_for_rest(_running([_info(1, "yellow")]))


def test_a_contender_answers_or_not() -> None:
    assert Contender("a", "command").answers(_running([{}]))
    assert not Contender("a", "command").answers(_running([]))
    assert not milvus.Milvus().answers(_running([{}]))
