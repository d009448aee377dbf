"""A plugin for pytest, ``-p proofs.suites.plugin``: what the server refused, beside a failure.

Tests of Qdrant's say that an answer was not what it should be, seldom what it was. With
``VECDB_SUITES_GRPC`` in the environment Qdrant's client prefers gRPC.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

_refused: list[str] = []
_in_setup: dict[str, list[str]] = {}
"""By module, what was refused where a set-up failed: all tests that share it fail by that."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: Any) -> Iterator[None]:
    """A test begins: nothing was refused yet."""
    _refused.clear()
    yield
    del item


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any) -> Iterator[None]:
    """A stage of it has ended."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        refused = _refused[-20:]
        if report.when == "setup":
            module = item.module.__name__
            refused = _in_setup[module] = refused or _in_setup.get(module, [])
        item.user_properties.append(("refused", "\n".join(refused)))
        report.user_properties = list(item.user_properties)


def _watch_requests() -> None:
    try:
        import requests
    except ModuleNotFoundError:
        return
    send = requests.Session.send

    def watched(session: Any, request: Any, **options: Any) -> Any:
        answer = send(session, request, **options)
        if answer.status_code >= 400:
            _refused.append(f"{request.method} {request.path_url}: {answer.text[:1000]}")
        return answer

    requests.Session.send = watched


def _watch_httpx() -> None:
    """Qdrant's client: its exceptions have the beginning of an answer only."""
    try:
        import httpx
    except ModuleNotFoundError:
        return
    send = httpx.Client.send

    def watched(session: Any, request: Any, **options: Any) -> Any:
        answer = send(session, request, **options)
        if answer.status_code >= 400 and not options.get("stream"):
            _refused.append(f"{request.method} {request.url.path}: {answer.text[:1000]}")
        return answer

    httpx.Client.send = watched  # type: ignore[assignment, method-assign]


def _prefer_grpc() -> None:
    from qdrant_client import QdrantClient

    begin = QdrantClient.__init__

    def with_grpc(self: Any, *arguments: Any, **options: Any) -> None:
        if "host" in options:
            options["prefer_grpc"] = True
        begin(self, *arguments, **options)

    QdrantClient.__init__ = with_grpc  # type: ignore[method-assign]


_watch_requests()
_watch_httpx()
if "VECDB_SUITES_GRPC" in os.environ:
    _prefer_grpc()
