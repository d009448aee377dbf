"""Prefetched: what the prefetches of a plan found, and what is added to it later.

A query on prefetched points knows no others. Where groups want more, the leaves are searched again,
among rows that are named, and then each leaf ranks what it finds of them with what it had: as if
its limit had been larger. So there is one list, with scores that compare, however often something
was added. What MMR chose is left as it is: from more it would choose something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from vecdb.engine.read import masks
from vecdb.engine.read.answer import found_by, leaves_of, up
from vecdb.engine.read.asked import MOST
from vecdb.engine.read.merge import Hits, Offsets
from vecdb.engine.read.pages import Hit, listed
from vecdb.engine.read.plan import Combined, Leaf, Mmr, Nearest, Plan
from vecdb.engine.view import Segment, View

Rows = Mapping[Segment, Offsets]


class Prefetched:
    """The points that a plan with prefetches is made on."""

    def __init__(self, view: View, plan: Plan) -> None:
        self._view, self._plan = view, plan
        self._found = found_by(view, list(leaves_of(plan)))

    def hits(self, limit: int) -> list[Hit]:
        """The first so many hits of the plan."""
        return listed(self._view, up(self._view, replace(self._plan, limit=limit), self._found))

    def add(self, several: Sequence[tuple[Rows, int]]) -> None:
        """Have every leaf find so many of each of these sets of rows, too: the best. What one leaf
        finds all rank, as far as it meets their conditions."""
        leaves = list(_leaves_of(self._plan))
        more = [
            self._search(_among(leaf, rows, count)) for rows, count in several for leaf in leaves
        ]
        for leaf in leaves:
            ranked = _among(leaf, _rows_of([self._found[id(leaf)], *more]), MOST)
            if isinstance(ranked, Nearest | Combined):
                # Of so few the scores are exact.
                ranked = replace(ranked, params=replace(ranked.params, exact=True))
            self._found[id(leaf)] = self._search(ranked)
        self._plan = _unlimited(self._plan)

    def _search(self, leaf: Leaf) -> Hits:
        [hits] = found_by(self._view, [(None, leaf)]).values()
        return hits


def _leaves_of(plan: Plan) -> Iterator[Leaf]:
    """The leaves of a plan, but for those of which MMR chooses."""
    if isinstance(plan, Leaf) and not plan.sources:
        yield plan
    elif not isinstance(plan, Mmr):
        for source in plan.sources:
            yield from _leaves_of(source)


def _unlimited(plan: Plan) -> Plan:
    """The same plan, with no limits above its leaves."""
    if not plan.sources or isinstance(plan, Mmr):
        return plan
    return replace(plan, limit=MOST, sources=tuple(map(_unlimited, plan.sources)))


def _among(leaf: Leaf, rows: Rows, limit: int) -> Leaf:
    """A leaf that finds some of these rows."""
    condition = leaf.condition
    condition = masks.only(rows) if condition is None else masks.among(rows, condition)
    return replace(leaf, condition=condition, limit=limit)


def _rows_of(several: Iterable[Hits]) -> Rows:
    """The rows of all hits, each once."""
    rows: dict[Segment, list[Offsets]] = {}
    for hits in several:
        for segment_view, _, some in hits.by_segment:
            rows.setdefault(segment_view.segment, []).append(some)
    return {segment: np.unique(np.concatenate(some)) for segment, some in rows.items()}
