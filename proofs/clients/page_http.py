"""The eight examples of Qdrant's page on quantization, as requests of HTTP and nothing else.

python page_http.py HTTP_PORT
"""

from __future__ import annotations

import json
import math
import sys
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

PATH = "/collections/" + quote("{collection_name}")
_MAPPED = {"memmap_threshold": 20000}

COLLECTIONS: dict[str, dict[str, Any]] = {
    "scalar": {
        "vectors": {"size": 768, "distance": "Cosine"},
        "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
    },
    "binary": {
        "vectors": {"size": 1536, "distance": "Cosine"},
        "quantization_config": {"binary": {"always_ram": True}},
    },
    "product": {
        "vectors": {"size": 768, "distance": "Cosine"},
        "quantization_config": {"product": {"compression": "x16", "always_ram": True}},
    },
    "originals on disk": {
        "vectors": {"size": 768, "distance": "Cosine"},
        "optimizers_config": _MAPPED,
        "quantization_config": {"scalar": {"type": "int8", "always_ram": True}},
    },
    "all on disk": {
        "vectors": {"size": 768, "distance": "Cosine"},
        "optimizers_config": _MAPPED,
        "quantization_config": {"scalar": {"type": "int8", "always_ram": False}},
    },
}

SEARCHES: dict[str, dict[str, Any]] = {
    "with oversampling": {"ignore": False, "rescore": True, "oversampling": 2.0},
    "without codes": {"ignore": True},
    "without rescoring": {"rescore": False},
}


def vector(size: int, n: int) -> list[float]:
    """One of the points'."""
    return [math.sin((n + 1) * at * 1.7) for at in range(1, size + 1)]


class Http:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("localhost", port)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The result of a request."""
        headers = {} if body is None else {"content-type": "application/json"}
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, headers)
        answer = self._connection.getresponse()
        read = json.loads(answer.read())
        assert answer.status == 200, (answer.status, read)
        return read["result"]


def page(http: Http) -> None:
    """Every example."""
    for what, wanted in COLLECTIONS.items():
        assert http.ask("PUT", PATH, wanted) is True
        config = http.ask("GET", PATH)["config"]
        assert config["quantization_config"] == wanted["quantization_config"]
        threshold = wanted.get("optimizers_config", {}).get("memmap_threshold")
        assert config["optimizer_config"]["memmap_threshold"] == threshold
        size = wanted["vectors"]["size"]
        points = [{"id": n, "vector": vector(size, n)} for n in range(20)]
        http.ask("PUT", f"{PATH}/points?wait=true", {"points": points})
        for quantization in SEARCHES.values():
            body = {"params": {"quantization": quantization}, "vector": vector(size, 7)}
            found = http.ask("POST", f"{PATH}/points/search", {**body, "limit": 10})
            assert len(found) == 10, found
            assert found[0]["id"] == 7, found
            assert abs(found[0]["score"] - 1) < 0.01, found
        assert http.ask("DELETE", PATH) is True
        print(f"collection: {what}")
    for what in SEARCHES:
        print(f"search: {what}")


if __name__ == "__main__":
    page(Http(int(sys.argv[1])))
    print("page: all")
