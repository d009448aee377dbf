"""The eight examples of Qdrant's page on quantization, by its Python client.

Over HTTP and gRPC, with and without ``await``. Where the client still has ``search``, which is what
the page calls, by that.

    python page.py HTTP_PORT GRPC_PORT
"""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
from typing import Any

from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client.http import models

NAME = "{collection_name}"  # as on the page, braces and all

_MAPPED = models.OptimizersConfigDiff(memmap_threshold=20000)


def _scalar(quantile: float | None, always_ram: bool) -> models.ScalarQuantization:
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=quantile, always_ram=always_ram
        )
    )


COLLECTIONS: dict[str, tuple[int, Any, Any]] = {
    "scalar": (768, None, _scalar(0.99, always_ram=True)),
    "binary": (
        1536,
        None,
        models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
    ),
    "product": (
        768,
        None,
        models.ProductQuantization(
            product=models.ProductQuantizationConfig(
                compression=models.CompressionRatio.X16, always_ram=True
            )
        ),
    ),
    "originals on disk": (768, _MAPPED, _scalar(None, always_ram=True)),
    "all on disk": (768, _MAPPED, _scalar(None, always_ram=False)),
}

SEARCHES = {
    "with oversampling": models.QuantizationSearchParams(
        ignore=False, rescore=True, oversampling=2.0
    ),
    "without codes": models.QuantizationSearchParams(ignore=True),
    "without rescoring": models.QuantizationSearchParams(rescore=False),
}


def vector(size: int, n: int) -> list[float]:
    """One of the points'."""
    return [math.sin((n + 1) * at * 1.7) for at in range(1, size + 1)]


async def page(client: Any) -> None:
    """Every example, on a client of either kind."""
    for size, optimizers, quantization in COLLECTIONS.values():
        assert await _done(
            client.create_collection(
                collection_name=NAME,
                vectors_config=models.VectorParams(size=size, distance=models.Distance.COSINE),
                optimizers_config=optimizers,
                quantization_config=quantization,
            )
        )
        info = await _done(client.get_collection(NAME))
        assert _plain(info.config.quantization_config) == _plain(quantization)
        threshold = None if optimizers is None else optimizers.memmap_threshold
        assert info.config.optimizer_config.memmap_threshold == threshold
        points = [models.PointStruct(id=n, vector=vector(size, n)) for n in range(20)]
        await _done(client.upsert(NAME, points, wait=True))
        for params in SEARCHES.values():
            found = await _search(client, vector(size, 7), models.SearchParams(quantization=params))
            assert len(found) == 10, found
            assert found[0].id == 7, found
            assert abs(found[0].score - 1) < 0.01, found
        assert await _done(client.delete_collection(NAME))


async def _search(client: Any, query: list[float], params: models.SearchParams) -> Any:
    if hasattr(client, "search"):
        found = client.search(collection_name=NAME, query_vector=query, search_params=params)
        return await _done(found)
    answer = await _done(client.query_points(NAME, query=query, search_params=params))
    return answer.points


async def _done(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def _plain(config: Any) -> Any:
    """As a dict without what was not said. (gRPC has a quantile in 32 bits.)"""
    plain = config.model_dump(exclude_none=True)
    for each in plain.values():
        if "quantile" in each:
            each["quantile"] = round(each["quantile"], 4)
    return plain


async def main() -> None:
    port, grpc_port = map(int, sys.argv[1:])
    for kind in (QdrantClient, AsyncQdrantClient):
        for prefer_grpc in (False, True):
            client = kind("localhost", port=port, grpc_port=grpc_port, prefer_grpc=prefer_grpc)
            await page(client)
            await _done(client.close())
            print(f"{kind.__name__} over {'gRPC' if prefer_grpc else 'HTTP'}: all")


if __name__ == "__main__":
    asyncio.run(main())
    print("page: all")
