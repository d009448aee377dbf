"""The world of these checks: a database, a server on it, a browser, a tab that is watched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from vecdb import VecDB, models

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
POINTS, SIZE = 4000, 32
LARGEST = (1 << 64) - 1
MARKUP = '<b id="bold">bold</b><img src="/none.png" onerror="document.title=\'run\'">'
"""Harmless, and seen at once if it were taken for HTML."""


def make_database(directory: Path) -> None:
    """A collection with an index and codes, one of named vectors and odd payloads, an empty one."""
    rng = np.random.default_rng(7)
    with VecDB(directory) as db:
        db.create_collection(
            "indexed",
            models.VectorParams(size=SIZE, distance=models.Distance.COSINE),
            quantization_config={"binary": {}},
            optimizers_config={"indexing_threshold": 1},
        )
        vectors = rng.standard_normal((POINTS, SIZE)).astype(np.float32)
        payloads = [
            {"group": f"g{n % 5}", "n": n, "part": {"even": n % 2 == 0}} for n in range(POINTS)
        ]
        db.upsert("indexed", models.Batch(ids=range(POINTS), vectors=vectors, payloads=payloads))
        db.collection("indexed").wait_for_optimizer()
        db.create_collection(
            "odd & named",
            {
                "text": models.VectorParams(size=4, distance=models.Distance.DOT),
                "image": models.VectorParams(size=3, distance=models.Distance.EUCLID),
            },
        )
        odd = {
            "html": MARKUP,
            MARKUP: [MARKUP, {"in": MARKUP}],
            "whole": LARGEST,
            "float": 1.0,
            "__proto__": {"polluted": True},
            "nothing": None,
        }
        uuid = "550e8400-e29b-41d4-a716-446655440000"
        db.upsert(
            "odd & named",
            [
                models.PointStruct(
                    id=LARGEST, vector={"text": [1, 2, 3, 4], "image": [1, 2, 3]}, payload=odd
                ),
                models.PointStruct(id=uuid, vector={"text": [1, 2, 3, 5]}, payload={}),
            ],
        )
        db.create_collection("empty", models.VectorParams(size=4, distance=models.Distance.DOT))


class Server:
    """A running ``vecdb serve``, which can be stopped and started again at the same port."""

    def __init__(self, directory: Path, *options: str, keys: dict[str, str] | None = None) -> None:
        self._words = [
            sys.executable,
            "-m",
            "vecdb",
            "serve",
            str(directory),
            "--no-grpc",
            *options,
        ]
        self._keys = keys or {}
        self.port = "0"
        self.start()

    def start(self) -> None:
        """Begin to serve."""
        self._process = subprocess.Popen(
            [*self._words, "--port", self.port],
            stdout=subprocess.PIPE,
            text=True,
            env={**_environment(), **self._keys},
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split(" at ")[1].split(",")[0].strip()
        self.port = self.url.rpartition(":")[2]

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self._process.terminate()
        self._process.communicate(timeout=60)

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        """What the server itself says, without a browser."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=60) as http:
            answer = http.request(method, path, json=body, headers={"api-key": key} if key else {})
            answer.raise_for_status()
            return answer.json()["result"]


def _environment() -> dict[str, str]:
    given = ("VECDB_API", "VECDB_ALT", "VECDB_READ", "QDRANT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(given)}


@contextmanager
def serving(directory: Path, *options: str, keys: dict[str, str] | None = None) -> Iterator[Server]:
    """A server, for the length of the block."""
    server = Server(directory, *options, keys=keys)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def browsing(executable: str) -> Iterator[BrowserContext]:
    """A browser with a profile of its own, and nothing in it."""
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=executable, headless=True, args=list(_ARGUMENTS)
        )
        context.set_default_timeout(120_000)
        try:
            yield context
        finally:
            context.close()


def browser_on(path: str | None) -> str | None:
    """The browser that was named, or the first that is installed."""
    if path is not None:
        return path
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Tab:
    """A page that is watched: what it logged, and what it asked for."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.logged: list[str] = []
        self.requests: list[Request] = []
        self.page.on("console", self._log)
        self.page.on("pageerror", lambda error: self.logged.append(f"error: {error}"))
        self.page.on("request", lambda request: self.requests.append(request))

    def _log(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.logged.append(f"{message.type}: {message.text}")

    def open(self, address: str = "") -> Page:
        """The page at an address, shown."""
        self.page.goto(f"{self.url}/ui/#/{address}")
        return self.shown()

    def shown(self) -> Page:
        """The page, when it has all that it asked for."""
        self.page.wait_for_selector("main:not([aria-busy]) h1")
        return self.page

    def check_quiet(self, but: str = "\n") -> None:
        """Nothing was logged, but what has this in it, and nobody else was asked for anything."""
        logged = [line for line in self.logged if but not in line]
        assert not logged, logged
        others = [each.url for each in self.requests if not each.url.startswith(f"{self.url}/")]
        assert not others, others
