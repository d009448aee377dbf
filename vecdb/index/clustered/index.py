"""ClusteredIndex: candidates for a query, from the partitions near it.

A query is compared with every centroid. Partitions are visited by *priority*: the score a row at
the centroid would have, plus a bonus for how far its rows spread (a wide partition far off may
hold nearer rows than a narrow one close by). All within ``gap`` of the best priority are scanned:
an easy query, which has one near partition, scans little, a hard one more. Sketches rank their
rows, and the best go on to better codes or to the vectors themselves.

Manhattan distance is served by the Euclidean one here; only the last step tells them apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from vecdb.index.clustered.clustering import Clustering
from vecdb.index.clustered.effort import EFFORT_FIELDS, MEASURED, TABLE_LIMITS, Effort
from vecdb.index.clustered.heaps import ASIDE
from vecdb.index.clustered.margins import WORTHWHILE, is_deeper
from vecdb.index.clustered.sketch import block_shape
from vecdb.vectors.strays import strays_among

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


_SMALLER = TABLE_LIMITS[:-1]
_TINY = 1e-6
_SHARES = 0.5 ** np.array([1, 2, 3, 4, 5, 6, 6])
"""Shares of the rows, those with the smallest scales first: the larger a scale, the more it counts
that it is not taken for a smaller one."""
_LONGEST = 1e30
"""No vector is longer, unless its scores overflow."""


class Found(Struct):
    """Candidates of some queries, unsorted.

    ``positions: int64[q, c]`` and sketch ``scores: float32[q, c]``, of which the first
    ``counts[q, 0]`` count; ``counts[q, 1]`` partitions and ``counts[q, 2]`` rows were visited.
    ``bounds: float32[q, 2]``: what is left out, see `rescore`.
    """

    positions: Ints
    scores: Floats
    counts: Ints
    bounds: Floats


class Spread(Struct, frozen=True, eq=False):
    """How far off the sketches of some rows are beside those of others."""

    strays: Ints
    """The rows, rising, of which they tell nearly nothing."""
    usual: float
    """The correction in the median."""
    scales: Floats
    """Those of all other rows (see `kernels.certainty`), a few that stand for all, and the share of
    the rows that each stands for: ``float32 (s, 2)``."""


@dataclass(frozen=True, slots=True, eq=False)
class ClusteredIndex:
    """What a query needs besides the sketches; immutable.

    ``starts: int64[p + 1]``: rows of partition ``c`` stand at positions ``starts[c]`` to
    ``starts[c + 1] - 1`` of the sketches; ``order: uint32[starts[p]]``: the row at each position,
    empty if they are the same. ``efforts`` has a table of `Effort` for each of ``TABLE_LIMITS``.
    """

    metric: str
    dim: int
    clustering: Clustering
    bonuses: Floats
    starts: Ints
    order: npt.NDArray[np.uint32]
    codebook: Floats
    width: int
    common: Floats
    """What all rows have in common is not in the length of a query: see `inverse_spans`."""
    efforts: Sequence[Sequence[Effort]] = ()
    typical: float = 0.0
    """The median length of the queries that efforts were measured with; for a distance, how far the
    nearest centroid is. 0: not known, gaps are in units of scores."""
    constants: Floats = field(init=False)
    """What a score has beside inner products: ``float32[p]``."""
    radius: float = field(init=False)
    """How far centroids are from the middle, in the median; 0 for inner products."""
    rows: int = field(init=False)
    """How many rows are in partitions."""
    aside: tuple[int, ...] = field(init=False)
    """The partitions that have rows set aside, see `heaps`."""
    sketch_shape: tuple[int, int] = field(init=False)
    """The shape of the sketches: blocks of 32 rows, and bytes a block."""
    for_kernel: tuple[Any, ...] = field(init=False, repr=False)
    """The arguments of kernels from ``centroids`` to ``radius``."""
    _recalls: list[list[float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        centroids = self.clustering.centroids()
        constants = np.zeros(len(centroids), dtype=np.float32)
        if self.distance:
            np.negative(np.einsum("ij,ij->i", centroids, centroids), out=constants)
        object.__setattr__(self, "constants", constants)
        radius = float(np.median(np.sqrt(-constants))) if len(constants) else 0.0
        object.__setattr__(self, "radius", radius if radius < np.inf else 0.0)
        object.__setattr__(self, "rows", int(self.starts[-1]))
        aside = tuple(np.flatnonzero(self.bonuses <= ASIDE).tolist())
        object.__setattr__(self, "aside", aside)
        shape = block_shape(self.rows, len(self.codebook), self.width, distance=self.distance)
        object.__setattr__(self, "sketch_shape", shape)
        kernel = (
            self.clustering.codes,
            self.clustering.low,
            self.clustering.scale,
            self.clustering.middle,
            self.clustering.stretch,
            self.constants,
            self.bonuses,
            self.starts,
            self.codebook,
            self.width,
            2.0 if self.distance else 1.0,
            self.common,
            self.typical,
            self.radius,
        )
        object.__setattr__(self, "for_kernel", kernel)
        recalls = [[effort.recall for effort in table] for table in self.efforts]
        object.__setattr__(self, "_recalls", recalls)

    @property
    def distance(self) -> bool:
        """Whether rows rank by distance, not by inner product."""
        return self.metric != "dot"

    def priorities(self, queries: Floats) -> tuple[Floats, Floats]:
        """The priority of every partition for each query ``float32[q, d]``, without bonuses:
        ``float32 (q, p)``; and the factors for its gaps: ``float32 (q,)``."""
        from vecdb.kernels.priorities import inverse_spans, priorities

        kept = self.clustering
        factor = 2.0 if self.distance else 1.0
        biases = np.empty((kept.partitions, len(queries)), dtype=np.float32)
        moved = np.empty_like(queries)
        inverses = np.empty(len(queries), dtype=np.float32)
        priorities(
            *(queries, kept.codes, kept.low, kept.scale, kept.middle, kept.stretch),
            *(self.constants, factor, moved, biases),
        )
        inverse_spans(moved, biases, self.common, factor, self.typical, self.radius, inverses)
        return np.ascontiguousarray(biases.T), inverses

    def effort(self, recall: float, limit: int) -> Effort:
        """The cheapest effort that was measured to reach ``recall``, for ``limit`` results."""
        number = _table_of(limit)
        table = self.efforts[number]
        return table[min(bisect_left(self._recalls[number], recall), len(table) - 1)].for_limit(
            limit
        )

    def effort_at(self, recall: float, depth: int) -> Effort:
        """The effort for results that are among the ``depth`` best, up to 100: between those that
        were measured for 10 and for 100, as candidates, rows and gaps grow with the logarithm."""
        few, many = (self.effort(recall, limit) for limit in MEASURED)
        if few.everything or many.everything:
            return many
        part = log(max(depth / MEASURED[0], 1.0)) / log(MEASURED[1] / MEASURED[0])
        return replace(
            many,
            gap=few.gap + part * (many.gap - few.gap),
            candidates=max(depth, round(few.candidates ** (1.0 - part) * many.candidates**part)),
            rows=round(few.rows ** (1.0 - part) * many.rows**part),
            calm=max(many.calm, few.calm + part * (many.calm - few.calm)),
            reach=max(many.reach, few.reach + part * (many.reach - few.reach)),
        )

    def deeper(self, effort: Effort, candidates: int, limit: int) -> Effort | None:
        """What to search with again where an effort, with so many candidates, leaves doubts: the
        next that was measured. None: look at all rows."""
        for each in self.efforts[_table_of(limit)]:
            if each.recall > effort.recall and not each.everything:
                scaled = each.for_limit(limit)
                if is_deeper(scaled, effort):
                    deeper = replace(scaled, candidates=max(scaled.candidates, candidates))
                    return deeper if WORTHWHILE * deeper.candidates <= self.rows else None
        return None

    def effort_of(self, candidates: int, limit: int) -> Effort:
        """The most thorough effort that was measured with at most so many candidates, with exactly
        so many; where all have more, the least."""
        table = self.efforts[_table_of(limit)]
        fitting = [row for row in table if row.candidates <= candidates]
        return replace(fitting[-1] if fitting else table[0], candidates=candidates)

    def visit(self, queries: Floats, blocks: Bytes, candidates: int, gap: float) -> Found:
        """For each of ``queries: float32[q, d]`` the ``candidates`` best positions by their
        sketches, in the partitions visited: those within ``gap``, and more until there are as many
        positions. Queries of one call share passes."""
        asked, candidates = len(queries), min(candidates, self.rows)
        scores = np.empty((asked, candidates), dtype=np.float32)
        positions = np.zeros((asked, candidates), dtype=np.int64)
        counts = np.zeros((asked, 3), dtype=np.int64)
        bounds = np.full((asked, 2), -np.inf, dtype=np.float32)
        if candidates:
            visit, _ = _kernels()
            visit(queries, *self.for_kernel, blocks, gap, scores, positions, counts, bounds)
        return Found(positions, scores, counts, bounds)

    def every(self, query: Floats, blocks: Bytes, wanted: int, mask: Bytes) -> tuple[Floats, Ints]:
        """The ``wanted`` best of the positions that a mask of them allows, in all partitions, and
        what their sketches say: best first."""
        wanted = min(wanted, self.rows)
        scores = np.empty((1, wanted), dtype=np.float32)
        positions = np.empty((1, wanted), dtype=np.int64)
        filled = np.zeros(1, dtype=np.int64)
        _, every = _kernels()
        every(query[None], *self.for_kernel, blocks, mask, scores, positions, filled)
        return scores[0, : filled[0]], positions[0, : filled[0]]

    def shares_allowed(self, queries: Floats, mask: Bytes, wanted: int) -> Floats:
        """For what share of the ``wanted`` rows nearest to each query, by their partitions, the bit
        in a mask of rows is set, or of the nearest among those, if it is less: ``float32 (q,)``."""
        kept, shares = self.clustering, np.empty(len(queries), dtype=np.float32)
        _shares_allowed()(
            *(queries, kept.codes, kept.low, kept.scale, kept.middle, kept.stretch),
            *(self.constants, self.starts, 2.0 if self.distance else 1.0, self.order),
            *(mask, wanted, shares),
        )
        return shares

    def spread(self, blocks: Bytes) -> Spread:
        """How exact the sketches of some rows are beside those of others."""
        corrections = self._corrections(blocks).ravel()[: self.rows]
        usual = float(np.median(corrections)) if self.rows else 0.0
        strays = strays_among(corrections, np.arange(self.rows))
        scales = self._scales(blocks, np.delete(np.arange(self.rows), strays), usual)
        middles = np.cumsum(_SHARES) - _SHARES / 2
        found = np.quantile(scales, middles) if len(scales) else np.ones_like(_SHARES)
        others = np.column_stack((found, _SHARES)).astype(np.float32)
        return Spread(np.sort(self.rows_at(strays)), usual, others)

    def scales(self, blocks: Bytes, positions: Ints, spread: Spread) -> Floats:
        """How far off the sketches at some positions are, compared with the usual: ``float32
        (n,)``."""
        return self._scales(blocks, positions, spread.usual)

    def _scales(self, blocks: Bytes, positions: Ints, usual: float) -> Floats:
        scales = np.empty(len(positions), dtype=np.float32)
        numbers, first = blocks.view(np.float32), self._first_correction(blocks) // 4
        _scale_rows()(numbers, first, positions, max(usual, _TINY), scales)
        return scales

    def _corrections(self, blocks: Bytes) -> Floats:
        """Those of the rows of each block, see `sketch`."""
        first = self._first_correction(blocks)
        return blocks[:, first : first + 128].view(np.float32)

    def _first_correction(self, blocks: Bytes) -> int:
        """Where the corrections begin in a block, in bytes."""
        return int(blocks.shape[1]) - 128 * (2 if self.distance else 1)

    def rows_at(self, positions: Ints) -> Ints:
        """The rows at some positions, in an array of the same shape."""
        return self.order[positions].astype(np.int64) if len(self.order) else positions

    # -- as arrays -------------------------------------------------------------------------

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What `from_state` needs besides metric and dim: plain numeric arrays."""
        # Tables may differ in length; the last line of the shorter ones is repeated.
        longest = max(map(len, self.efforts))
        efforts = np.array(
            [
                [table[min(line, len(table) - 1)].as_numbers() for line in range(longest)]
                for table in self.efforts
            ],
            dtype="<f8",
        )
        return {
            "centroids": self.clustering.codes,
            "low": self.clustering.low,
            "scale": self.clustering.scale,
            "middle": self.clustering.middle,
            "stretch": self.clustering.stretch,
            "bonuses": self.bonuses,
            "starts": self.starts.astype("<i8"),
            "order": self.order.astype("<u4"),
            "codebook": self.codebook,
            "common": self.common,
            "width": np.array([self.width], dtype="<i8"),
            "efforts": efforts,
            "typical": np.array([self.typical], dtype="<f8"),
        }

    @classmethod
    def from_state(
        cls, metric: str, dim: int, rows: int, state: Mapping[str, npt.NDArray[Any]]
    ) -> ClusteredIndex:
        """The index whose ``state()`` was kept, of a segment of so many rows.

        Raises ValueError if the parts do not fit together, as bytes from elsewhere may not.
        """
        if metric not in ("dot", "euclid", "manhattan"):
            raise ValueError(f"an index by {metric!r:.60}")
        codes = _array(state, "centroids", "|u1", 2)
        partitions = len(codes)
        width = int(_array(state, "width", "<i8", 1, (1,))[0])
        starts = _array(state, "starts", "<i8", 1, (partitions + 1,))
        order = _array(state, "order", "<u4", 1)
        # Compared, not subtracted: a difference may wrap around to what looks right.
        falls = (starts[1:] < starts[:-1]).any()
        if partitions < 1 or starts[0] != 0 or falls or starts[-1] > rows:
            raise ValueError("partitions that do not follow one another")
        if len(order) not in (0, int(starts[-1])) or (len(order) and int(order.max()) >= rows):
            raise ValueError("an order of rows that there are not")
        if not 1 <= width <= dim:
            raise ValueError(f"codes of {width} dimensions")
        efforts = _array(state, "efforts", "<f8", 3)
        if efforts.shape[0] == len(MEASURED):  # the first indexes have none for one result
            efforts = efforts[[0, 0, 1]]
        if efforts.shape[0] != len(TABLE_LIMITS) or efforts.shape[2] not in EFFORT_FIELDS:
            raise ValueError(f"a table of efforts of shape {efforts.shape}")
        if not efforts.shape[1]:
            raise ValueError("an empty table of efforts")
        tables = tuple(
            tuple(dict.fromkeys(Effort.from_numbers(row) for row in table)) for table in efforts
        )
        lines = -(-dim // width) * width
        # The first indexes did without.
        middle, stretch = np.zeros(dim, dtype=np.float32), np.ones(partitions, dtype=np.float32)
        common = np.zeros(dim, dtype=np.float32)
        if "middle" in state:
            middle = _array(state, "middle", "<f4", 1, (dim,))
            stretch = _array(state, "stretch", "<f4", 1, (partitions,))
            common = _array(state, "common", "<f4", 1, (dim,))
        typical = 0.0
        if "typical" in state:
            typical = float(_array(state, "typical", "<f8", 1, (1,))[0])
            if not 0.0 <= typical <= _LONGEST:
                raise ValueError(f"a typical length of {typical}")
        return cls(
            metric,
            dim,
            Clustering(
                _array(state, "centroids", "|u1", 2, (partitions, dim)),
                _array(state, "low", "<f4", 1, (dim,)),
                _array(state, "scale", "<f4", 1, (dim,)),
                middle,
                stretch,
            ),
            _array(state, "bonuses", "<f4", 1, (partitions,)),
            starts,
            order,
            _array(state, "codebook", "<f4", 2, (lines, 16)),
            width,
            common,
            tables,
            typical,
        )


def _table_of(limit: int) -> int:
    """Which table has the efforts for so many results."""
    return bisect_left(_SMALLER, limit)


@cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    """Imported once; an import statement in each search would take longer than it looks."""
    from vecdb.kernels.partitions import every, visit

    return visit, every


@cache
def _shares_allowed() -> Callable[..., None]:
    from vecdb.kernels.shares import shares_allowed

    return shares_allowed


@cache
def _scale_rows() -> Callable[..., None]:
    from vecdb.kernels.certainty import scale_rows

    return scale_rows


def _array(
    state: Mapping[str, npt.NDArray[Any]],
    key: str,
    dtype: str,
    dimensions: int,
    shape: tuple[int, ...] | None = None,
) -> npt.NDArray[Any]:
    """A copy of an array of the state, checked: what is on disk may be anything."""
    array = state.get(key)
    fits = array is not None and array.dtype == np.dtype(dtype) and array.ndim == dimensions
    if array is None or not fits or (shape is not None and array.shape != shape):
        found = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"index {key!r}: expected {dtype} {shape or ''}, got {found}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"index {key!r} holds numbers that are not finite")
    return np.array(array, order="C", copy=True)
