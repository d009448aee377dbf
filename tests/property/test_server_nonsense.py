"""Whatever a request has in its body, its path or beside them: the server says what is wrong with
it, and never that it has failed itself."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from proofs.model.oracle import SCALE
from tests.cases import first_few
from vecdb import AsyncVecDB
from vecdb.server.access import Access
from vecdb.server.app import App
from vecdb.server.description import described
from vecdb.server.routes import ROUTES, Route
from vecdb.server.service import Service
from vecdb.server.settings import Settings

VECTOR = [1.0, 2.0, 3.0, 4.0]
UUID = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"
LEAVES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63, 2**64, 10**30, 1.5, -0.0, 1e300),
    *("", "a", "1", "\0", "é" * 300, UUID, [], {}, [None], [{}], [[1]], {"a": None}, VECTOR),
    *({"": VECTOR}, {"nearest": VECTOR}, {"must": [{"key": "a", "match": {"value": 1}}]}),
    *([{"id": 1, "vector": VECTOR}], {"indices": [1], "values": [1.0]}),
]
WORDS = """
id vector payload points filter must should must_not min_should conditions min_count key match
value range gte nested has_id limit offset query nearest using params hnsw_ef vectors size
distance operations upsert delete batch searches ids with_payload with_vector create_alias
actions location a
"""
KEYS = WORDS.split()
ASIDE = (
    *("", "wait=true", "wait=1", "timeout=1", "timeout=-1", "consistency=2&ordering=weak"),
    *("%FF=%FF", "with=a,b", "details_level=9", "per_collection=true", "=", "a" * 5000),
)
ITEMS = ("1", "a", "x%00y", "%FF", UUID, "%2E%2E", "*")


class Nonsense:
    """Requests that are nearly right, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int) -> Any:
        kind = self.random.random()
        if depth == 0 or kind < 0.6:
            return self.random.choice(LEAVES)
        count = range(self.random.randint(0, 4))
        if kind < 0.8:
            return [self.value(depth - 1) for _ in count]
        return {self.random.choice(KEYS): self.value(depth - 1) for _ in count}

    def body(self, route: Route) -> bytes:
        fields = [] if route.operation.fields is None else [*route.operation.fields.json_names]
        if self.random.random() < 0.1:
            fields = [self.random.choice(KEYS)]
        body = {name: self.value(3) for name in fields if self.random.random() < 0.7}
        return json.dumps(body).encode()

    def path(self, route: Route) -> str:
        name = "c"
        if route.path == "/collections/{collection_name}" and route.method in ("PUT", "DELETE"):
            name = f"other-{self.random.randint(0, 2)}"
        fixed = {"{collection_name}": name, "{shard_id}": "0"}
        return "/".join(
            fixed.get(each) or (self.random.choice(ITEMS) if each.startswith("{") else each)
            for each in route.path.split("/")
        )


@pytest.mark.parametrize("seed", first_few(1, range(4 * SCALE)))
def test_nonsense_is_no_failure_of_the_server(seed: int) -> None:
    asyncio.run(send_nonsense(Nonsense(seed), 2000))


async def send_nonsense(nonsense: Nonsense, count: int) -> None:
    settings = Settings(directory=Path("unused"))
    async with AsyncVecDB(":memory:") as database:
        await database.create_collection("c", {"size": 4, "distance": "Dot"})
        points = [{"id": n, "vector": VECTOR, "payload": {"a": n}} for n in range(20)]
        await database.upsert("c", points)
        service = Service(database, settings, described())
        app = App(service, Access(settings, 6333))
        statuses = set()
        for _ in range(count):
            route = nonsense.random.choice(ROUTES)
            path, aside = nonsense.path(route), nonsense.random.choice(ASIDE)
            body = nonsense.body(route)
            status, content = await ask(app, route.method, path, aside, body)
            where = route.endpoint, path, aside, body, content
            expected = route.path == "/readyz" or status < 500
            assert expected, where
            if status == 200 and content.startswith(b"{"):
                json.loads(content)
            statuses.add(status)
        assert {200, 400, 404, 422} <= statuses
        await service.finish()


async def ask(app: App, method: str, path: str, aside: str, body: bytes) -> tuple[int, bytes]:
    """One request, without a connection."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": aside.encode(),
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:])
