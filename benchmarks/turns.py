"""Searches beside each other: all get the same queries in turns, so that what else the machine does
hits them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import numpy as np

Query = TypeVar("Query")
Answer = TypeVar("Answer")


def in_turns(
    searches: Mapping[str, Callable[[Query], Answer]], queries: Iterable[Query]
) -> dict[str, tuple[list[float], list[Answer]]]:
    """The seconds of each query, and its answers, by the names of the searches. Every query is
    asked twice, and the second time counts: caches are warm."""
    found: dict[str, tuple[list[float], list[Answer]]] = {name: ([], []) for name in searches}
    for query in queries:
        for name, search in searches.items():
            search(query)
            started = time.perf_counter()
            answer = search(query)
            seconds, answers = found[name]
            seconds.append(time.perf_counter() - started)
            answers.append(answer)
    return found


def percentiles(seconds: list[float], unit: float) -> dict[str, float]:
    """The median and the 95th percentile in a unit, ``1e-3`` for milliseconds."""
    return {f"p{p}": round(float(np.percentile(seconds, p)) / unit, 3) for p in (50, 95)}
