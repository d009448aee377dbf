"""Searches: drawn by chance, and what is wrong with their hits."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from proofs.model.oracle import Oracle, canonical
from proofs.model.writes import Pool, random_filter

EXACT = {"exact": True}
CODES = {"hnsw_ef": 10**6, "quantization": {"rescore": True, "oversampling": 1000.0}}
"""Every partition of an index is visited, and all of the codes' candidates are scored again, so
the results are exact, too."""
SKETCHES = {"hnsw_ef": 10**6, "quantization": {"ignore": True}}
"""The same without codes."""
NEAR = {"quantization": {"ignore": True}}
LOW = {"recall": 0.8}
ROUGH = {"quantization": {"rescore": False}}
PARAMS = (EXACT, CODES, SKETCHES, NEAR, LOW, None, None, ROUGH)
ERRORS = {str(NEAR): 1e-9, str(LOW): 1e-9, str(None): 1e-9, str(ROUGH): float("inf")}
"""How far a score may be from the truth. Unless it is 0, points may be missed, too."""


@dataclass(frozen=True)
class Search:
    """One search: ``name`` of the vector, and so on."""

    name: str
    query: Any
    """As a collection takes it."""
    limit: int
    filter: dict[str, Any] | None
    params: Any

    @property
    def vector(self) -> Any:
        """As ``search`` takes it."""
        return (self.name, self.query) if self.name else self.query

    def difference(self, oracle: Oracle, hits: Any) -> str | None:
        """Codes alone may miss a point and be wrong about scores; by default, and by an index, the
        scores of what is found are true; in all other ways of searching the hits are the best."""
        error = ERRORS.get(str(self.params), 0.0)
        problem = oracle.search_difference(
            hits, self.name, self.query, self.limit, self.filter, error=error
        )
        for hit in hits:
            if hit.payload is not None and not problem:
                kept = oracle.points[hit.id].payload
                if canonical(hit.payload) != canonical(kept):
                    problem = f"hit {hit.id!r} has payload {hit.payload}, not {kept}"
        return f"{self.params}: {problem}" if problem else None


def draw_search(rng: Random, oracle: Oracle, pool: Pool, params: Any = "any") -> Search:
    """With any parameters, if none are given. There must be a vector."""
    name = rng.choice(sorted(oracle.vectors))
    return Search(
        name,
        pool.vector(rng, name, oracle.vectors[name]),
        rng.choice((1, 10, 10, len(oracle.points) + 1)),
        random_filter(rng, oracle, pool) if rng.random() < 0.5 else None,
        rng.choice(PARAMS) if params == "any" else params,
    )
