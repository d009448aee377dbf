"""The clustered index of a segment that is being built.

Rows are written in the order of their partitions, so that a partition is contiguous in every file.
That can be the order of one vector name only, the *leading* one; the index of another name keeps
its own order of rows.

    arrange   partitions of the leading name, from its vectors in the sources; the order of rows
    (copy)    the rows are written in that order
    index     for each name: sketches, partition by partition, then a measurement of what effort
              buys which recall, on the segment's own rows
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.engine.planner import INDEX_ROWS
from vecdb.engine.read.segment.originals import exact_scores
from vecdb.engine.schema import VectorSchema
from vecdb.index import ClusteredIndex, Clustering, Effort, fit_clustering
from vecdb.index.clustered.calibration import Stranger, calibrate
from vecdb.index.clustered.clustering import distinct, partition_order, partitions_for
from vecdb.index.clustered.clustering import sample_size as clustering_sample
from vecdb.index.clustered.effort import TABLE_LIMITS
from vecdb.index.clustered.heaps import ASIDE, Heaps
from vecdb.index.clustered.margins import strangers
from vecdb.index.clustered.neighbours import breaking_ties, nearest_others, pick_queries
from vecdb.index.clustered.sketch import Sketcher
from vecdb.index.clustered.sketch import sample_size as sketch_sample
from vecdb.storage.builder import SegmentBuilder
from vecdb.vectors.datatypes import bytes_per_vector

Offsets = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
Poll = Callable[[], None]
Scorer = Callable[[Floats, Offsets], Floats]
Rows = Callable[[Offsets], Floats]
"""Vectors by row number: from the sources, or from what has been written of the new segment."""

_SEED = 20_240_610
_BLOCK_BYTES = 4 << 20
_COMPARED = 1 << 21
"""So many pairs of a query and a row are compared at once, at most; each takes so many bytes of a
build's, with all that it holds meanwhile:"""
_EACH_COMPARED = 32
_COPIES = 4
"""A sample, what is left of it without rows that come twice, and as much again for the centroids
and for what else a build holds meanwhile."""
_FEWEST = 512
"""A codebook takes no fewer rows, however little room there is."""
_EVERYTHING = float(np.finfo(np.float32).max)
"""A gap that leaves no partition out."""


class Arrangement(Struct, frozen=True):
    """The partitions of one vector name. ``order: int64[n]``: all rows in the order of the new
    segment. ``starts: int64[p + 1]``: where each partition starts in it. The last ``heaps`` have
    what is set aside."""

    name: str
    clustering: Clustering
    order: Offsets
    starts: Offsets
    heaps: int


def leading(schema: Sequence[VectorSchema]) -> VectorSchema:
    """The vector name whose partitions decide the order of rows: the one with most bytes to
    read."""
    return max(schema, key=lambda vector: vector.bytes)


# Numbers that overflow become infinite, which is handled. A warning would end every build in a
# program that turns warnings into errors.
_overflow = np.errstate(over="ignore", invalid="ignore")


@_overflow
def arrange(
    vector: VectorSchema, total: int, has: npt.NDArray[np.bool_], read: Rows, poll: Poll, room: int
) -> Arrangement:
    """Partition the rows 0 .. total - 1; ``has`` says which of them have the vector. ``room``:
    bytes of memory that it may take."""
    present = np.flatnonzero(has)
    clustering, heaps = _cluster(vector.dim, present, read, poll, room)
    labels = np.full(total, -1, dtype=np.int32)
    for rows in _pieces(present, vector.dim):
        poll()
        vectors = read(rows)
        mine = clustering.assign(vectors)
        heaps.set_aside(vectors, mine, clustering.partitions)
        labels[rows] = mine
    clustering = heaps.partitions(clustering)
    order, starts = partition_order([labels], clustering.partitions)
    return Arrangement(vector.name, clustering, order, starts, len(heaps.rows))


@_overflow
def index(
    builder: SegmentBuilder,
    vector: VectorSchema,
    arranged: Arrangement | None,
    by_codes: Scorer | None,
    poll: Poll,
    advance: Callable[[int], None],
    room: int,
) -> None:
    """Write the sketches and the index of one vector name. ``arranged``: the partitions in whose
    order the rows stand; they count if they are of this name. ``by_codes(query, rows)``: scores by
    its codes. ``room``: as for `arrange`."""
    written = builder.vectors(vector.name)

    def read(rows: npt.NDArray[Any]) -> Floats:
        return vector.compared(written[rows])

    has = np.zeros(builder.rows, dtype=np.bool_)
    has[builder.rows_with(vector.name)] = True
    own = np.empty(0, dtype=np.uint32)
    if arranged is None or arranged.name != vector.name:
        arranged = arrange(vector, builder.rows, has, read, poll, room)
        own = arranged.order[: arranged.starts[-1]].astype(np.uint32)
    count = int(arranged.starts[-1])
    labels = np.repeat(
        np.arange(arranged.clustering.partitions, dtype=np.int32), np.diff(arranged.starts)
    )

    def at(positions: Offsets) -> Floats:
        return read(own[positions]) if len(own) else read(positions)

    bonuses = np.zeros(arranged.clustering.partitions, dtype=np.float32)
    bonuses[len(bonuses) - arranged.heaps :] = ASIDE
    # A codebook would learn what is set aside, and nothing of the others.
    fitting = max(_FEWEST, room // (2 * _COPIES * bytes_per_vector(vector.dim)))
    size = min(fitting, sketch_sample(vector.dim))
    picked = _pick(int(arranged.starts[len(bonuses) - arranged.heaps]), size)
    sample = at(picked) if count else np.zeros((1, vector.dim), dtype=np.float32)
    sketcher = Sketcher.fit(
        sample,
        labels[picked] if count else np.zeros(1, dtype=np.int32),
        arranged.clustering,
        distance=vector.metric != "dot",
    )
    spreads = np.zeros(arranged.clustering.partitions, dtype=np.float64)

    def sketches() -> Iterator[npt.NDArray[np.uint8]]:
        for positions in _pieces(np.arange(count), vector.dim):
            poll()
            blocks, squares = sketcher.encode(at(positions), labels[positions])
            spreads[:] += np.bincount(labels[positions], squares, len(spreads))
            yield blocks
            advance(len(positions))

    blocks = builder.add_sketch(vector.name, sketcher.shape(count), sketches())
    unmeasured = ClusteredIndex(
        vector.metric,
        vector.dim,
        arranged.clustering,
        bonuses,
        arranged.starts,
        own,
        sketcher.codebook,
        sketcher.width,
        np.zeros(vector.dim, dtype=np.float32),
    )
    measured = _measured(unmeasured, blocks, at, spreads, by_codes, poll, room)
    builder.add_index(vector.name, measured)


def _measured(
    index: ClusteredIndex,
    blocks: npt.NDArray[np.uint8],
    at: Rows,
    spreads: npt.NDArray[np.float64],
    by_codes: Scorer | None,
    poll: Poll,
    room: int,
) -> ClusteredIndex:
    """The index with its bonuses and its table of efforts."""
    own = pick_queries(index.rows, room)
    middle = index.clustering.middle
    own = own[distinct(at(own) - middle)] if len(own) else own
    rows = breaking_ties(at(own))
    others = rows[:0]
    if index.rows >= INDEX_ROWS:
        others = strangers(rows, middle, distance=index.distance)
    queries = np.concatenate((rows, others))
    at_once = min(_COMPARED, room // _EACH_COMPARED) // max(1, len(queries))
    pieces = (
        (int(some[0]), at(some)) for some in _pieces(np.arange(index.rows), index.dim, at_once)
    )
    near = queries
    if index.distance:  # far from 0 rounding leaves nothing of how far rows are apart
        pieces = ((start, vectors - middle) for start, vectors in pieces)
        near = queries - middle
    known, of_others = nearest_others(index.metric, near, own, pieces, poll)
    # Few have the vector; or scores overflow.
    if index.rows < INDEX_ROWS or not known[0].positions.shape[1]:
        whole = Effort(1.0, _EVERYTHING, index.rows, index.rows, 0)
        return replace(index, efforts=((whole,),) * len(TABLE_LIMITS))
    means = (spreads / np.maximum(1, np.diff(index.starts))).astype(np.float32)
    if not index.distance:
        means = np.sqrt(means)
    scorer = None
    if by_codes is not None:
        by_rows = by_codes

        def scorer(query: Floats, positions: Offsets) -> Floats:
            return by_rows(query, index.rows_at(positions))

    def exact(query: Floats, positions: Offsets) -> Floats:
        return exact_scores(index.metric, at(positions), query)

    unlike = Stranger(others, of_others)
    return calibrate(index, blocks, rows, means, known, exact, scorer, poll, unlike)


def _cluster(
    dim: int, present: Offsets, read: Rows, poll: Poll, room: int
) -> tuple[Clustering, Heaps]:
    partitions = partitions_for(len(present))
    sample = np.zeros((1, dim), dtype=np.float32)
    if len(present):
        fitting = room // (_COPIES * bytes_per_vector(dim))
        size = min(clustering_sample(len(present)), max(partitions, fitting))
        sample = read(present[_pick(len(present), size)])
    heaps = Heaps.of(sample, len(present), partitions)
    return fit_clustering(sample, partitions, poll, overwrite=True), heaps


def _pick(count: int, size: int) -> Offsets:
    """At most ``size`` of ``count`` positions, evenly at random, rising."""
    if count <= size:
        return np.arange(count)
    return np.sort(np.random.default_rng(_SEED).choice(count, size, replace=False))


def _pieces(rows: Offsets, dim: int, most: int = sys.maxsize) -> Iterator[Offsets]:
    """Rows in pieces of a multiple of 32, whose vectors take some MB; ``most`` rows or fewer."""
    step = max(32, min(most, _BLOCK_BYTES // bytes_per_vector(dim)) // 32 * 32)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def scorer_of(quantizer: Any, codes: npt.NDArray[np.uint8]) -> Scorer:
    """Scores of rows by their codes."""

    def score(query: Floats, rows: Offsets) -> Floats:
        scores: Floats = quantizer.prepare(query).score_rows(codes, rows)
        return scores

    return score
