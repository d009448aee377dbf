"""Data and queries by name: what may be stored, and what may be asked of it.

A generator is a function of ``(rows, dim, seed)`` that gives `Data`: stored rows, queries in the
order in which they are asked, and no more. The same arguments give the same values. Beside it
stands which metrics make sense, and for rows with a defect, heaps of equal rows or a few giants,
the name of the same rows without it.

Sets from files are generators, too: see `real_sets`.
"""

# mypy: disable-error-code=no-any-return
# (what arithmetic on arrays gives is Any)

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from proofs.recall import rows as kinds
from proofs.recall.rows import Draw, Floats, Random, unit_length

MOST_QUERIES = 1000
"""So many a generator has, where rows do not limit them; a part of them is asked at first."""
_VALUES = 4_000_000
"""Rows of many dimensions are fewer, so that there are at most so many values."""
ALL = ("Cosine", "Dot", "Euclid", "Manhattan")
ANGLES = ("Cosine", "Dot")
DISTANCES = ("Euclid", "Manhattan")


@dataclass(frozen=True)
class Data:
    """``base: float32 (n, d)``, ``queries: float32 (q, d)``."""

    base: npt.NDArray[np.float32]
    queries: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Generator:
    """Data and queries with a name."""

    name: str
    make: Callable[[int, int, int], Data]
    dim: int
    metrics: tuple[str, ...]
    plain: str | None = None
    """The generator of the same rows without what is special about these."""

    def data(self, rows: int, seed: int) -> Data:
        """About so many rows."""
        return self.make(max(1000, min(rows, _VALUES // self.dim)), self.dim, seed)


GENERATORS: dict[str, Generator] = {}

# What is done to rows, and what queries are made of: the held-out rows, and the stored ones.
Change = Callable[[Random, Floats], Floats]
Ask = Callable[[Random, Floats, Floats], Floats]


def _add(
    name: str,
    draw: Draw,
    dim: int,
    metrics: tuple[str, ...] = ALL,
    *,
    change: Change | None = None,
    ask: Ask | None = None,
    plain: str | None = None,
) -> None:
    """A generator: rows and as many more as there are queries are drawn together; then the stored
    ones are changed, and the queries made of what is held out or of what is stored."""

    def make(rows: int, dim: int, seed: int) -> Data:
        # Of a kind of rows, not of a name: rows and what became of them can be compared.
        drawn = draw(np.random.default_rng([seed, dim]), rows + MOST_QUERIES, dim)
        base, held_out = drawn[:rows], drawn[rows:]
        random = np.random.default_rng([seed, dim, zlib.crc32(name.encode())])
        if change is not None:
            base = change(random, base)
        queries = held_out if ask is None else ask(random, held_out, base)[:MOST_QUERIES]
        return Data(_float32(base), _float32(queries))

    GENERATORS[name] = Generator(name, make, dim, metrics, plain)


def _float32(rows: Floats) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(rows, dtype=np.float32)


# -- what is done to rows ----------------------------------------------------------------------


def _heap(share: float, zero: bool = True) -> Change:
    """A share of the rows is one and the same."""

    def change(random: Random, base: Floats) -> Floats:
        base = base.copy()
        equal = random.permutation(len(base))[: round(share * len(base))]
        base[equal] = 0 if zero else base[equal[0]].copy()
        return base

    return change


def _repeated(copies: int, noise: float = 0.0) -> Change:
    """Every row several times, or nearly."""

    def change(random: Random, base: Floats) -> Floats:
        several = base[random.integers(-(-len(base) // copies), size=len(base))]
        return several + noise * random.normal(size=base.shape)

    return change


def _distinct(count: int) -> Change:
    """All rows are one of a few."""
    return lambda random, base: base[random.integers(count, size=len(base))]


def _heaps(random: Random, base: Floats) -> Floats:
    """Ten rows of which there are as many as three in a hundred, each."""
    base = base.copy()
    for rows in np.array_split(random.permutation(len(base))[: len(base) // 3], 10):
        base[rows] = base[rows[0]].copy()
    return base


def _giants(count: int, factor: float) -> Change:
    """A few rows that are longer by a factor."""

    def change(random: Random, base: Floats) -> Floats:
        base = base.copy()
        base[random.permutation(len(base))[:count]] *= factor
        return base

    return change


def _giant_components(random: Random, base: Floats) -> Floats:
    """One component each of three rows."""
    base = base.copy()
    base[random.permutation(len(base))[:3], random.integers(base.shape[1], size=3)] = 1e4
    return base


def _islands(random: Random, base: Floats) -> Floats:
    """Five small groups far from the rest."""
    base = base.copy()
    for rows in np.array_split(random.permutation(len(base))[:75], 5):
        away = 20 * np.sqrt(base.shape[1]) * unit_length(random.normal(size=(1, base.shape[1])))
        base[rows] = away + 0.2 * base[rows]
    return base


def _column(value: float) -> Change:
    """The last component of every row."""

    def change(random: Random, base: Floats) -> Floats:
        return np.column_stack([base[:, :-1], np.full(len(base), value)])

    return change


def _popular(random: Random, base: Floats) -> Floats:
    """Items' factors: lengths and a bias by popularity."""
    popularity = random.pareto(2.0, size=(len(base), 1))
    return np.column_stack([base[:, :-1] * (0.5 + popularity), np.log1p(popularity)])


# -- what is asked -----------------------------------------------------------------------------


def _last(value: float) -> Ask:
    return lambda random, held_out, base: np.column_stack(
        [held_out[:, :-1], np.full(len(held_out), value)]
    )


def _times(factor: float) -> Ask:
    return lambda random, held_out, base: held_out * factor


def _any_lengths(random: Random, held_out: Floats, base: Floats) -> Floats:
    return held_out * np.exp(2 * random.normal(size=(len(held_out), 1)))


def _directions(random: Random, held_out: Floats, base: Floats) -> Floats:
    """Random directions, as long as rows."""
    length = np.linalg.norm(held_out, axis=1, keepdims=True)
    return unit_length(random.normal(size=held_out.shape)) * length


def _unit_directions(random: Random, held_out: Floats, base: Floats) -> Floats:
    """Random directions of length 1, however long rows are."""
    return unit_length(random.normal(size=held_out.shape))


def _opposites(random: Random, held_out: Floats, base: Floats) -> Floats:
    return -held_out


def _stored(random: Random, held_out: Floats, base: Floats) -> Floats:
    return base[random.permutation(len(base))]


def _near_stored(random: Random, held_out: Floats, base: Floats) -> Floats:
    rows = base[random.permutation(len(base))[:MOST_QUERIES]]
    return rows + 0.1 * base.std() * random.normal(size=rows.shape)


def _between(random: Random, held_out: Floats, base: Floats) -> Floats:
    """Halfway between two rows."""
    first, second = random.integers(len(base), size=(2, MOST_QUERIES))
    return (base[first] + base[second]) / 2


def _near_zero(random: Random, held_out: Floats, base: Floats) -> Floats:
    """Short ones, the first of them zero."""
    short = 0.001 * base.std() * random.normal(size=held_out.shape)
    short[0] = 0
    return short


def _far(random: Random, held_out: Floats, base: Floats) -> Floats:
    """Ten times as far away as rows are from each other."""
    away = unit_length(random.normal(size=held_out.shape))
    return held_out + 10 * base.std() * np.sqrt(base.shape[1]) * away


def _shifted(random: Random, held_out: Floats, base: Floats) -> Floats:
    """From another model: the same shape, elsewhere."""
    return held_out + 0.7 * base.std() * random.normal(size=base.shape[1])


def _one_component(random: Random, held_out: Floats, base: Floats) -> Floats:
    """All but two components are zero."""
    asked = np.zeros_like(held_out)
    for j in random.integers(base.shape[1], size=(2, len(asked))):
        asked[np.arange(len(asked)), j] = np.abs(held_out[np.arange(len(asked)), j]) + 0.1
    return asked


def _one_place(random: Random, held_out: Floats, base: Floats) -> Floats:
    """All of them near one row."""
    return base[7] + 0.3 * base.std() * random.normal(size=held_out.shape)


def _farthest(count: int, noise: float = 0.0) -> Ask:
    """The longest of the stored rows, or points near them."""

    def ask(random: Random, held_out: Floats, base: Floats) -> Floats:
        rows = base[np.argsort(-np.linalg.norm(base, axis=1), kind="stable")[:count]]
        if not noise:
            return rows
        several = rows[np.arange(MOST_QUERIES) % count]
        return several + noise * np.median(base.std(axis=0)) * random.normal(size=several.shape)

    return ask


# -- by name -----------------------------------------------------------------------------------

_unit = kinds.embeddings
_rows = kinds.clusters

_add("clusters", _rows, 64)
_add("embeddings", _unit, 128)
_add("noise", kinds.noise, 48)
_add("uniform", kinds.uniform, 24)

_add("offset", kinds.offset(_rows, 5), 64)
_add("offset-far", kinds.offset(_rows, 100), 48, ("Dot", *DISTANCES))
_add("offset-embeddings", lambda r, n, d: unit_length(_unit(r, n, d) + 0.15), 128)
_add("shared-component", _unit, 65, ("Dot", "Euclid"), change=_column(10), ask=_last(1))
_add("shared-component-missing", _unit, 65, ANGLES, change=_column(10), ask=_last(0))
_add("shared-component-3", _unit, 49, ANGLES, change=_column(3), ask=_last(1))
_add("off-centre-asked-at-centre", kinds.offset(_rows, 3), 64, ask=_directions)

_add("lognormal-lengths", kinds.lognormal_lengths, 64)
_add("pareto-lengths", kinds.pareto_lengths, 64)
_add("heavy-tails", kinds.heavy_tails, 64)
_add("two-scales", kinds.two_scales, 48, ("Dot", *DISTANCES))

_add("zeros-4", _rows, 64, change=_heap(0.04), plain="clusters")
_add("zeros-8", _rows, 64, change=_heap(0.08), plain="clusters")
_add("zeros-50", _rows, 64, change=_heap(0.5), plain="clusters")
_add("equal-8", _rows, 64, change=_heap(0.08, zero=False), plain="clusters")
_add("equal-50-embeddings", _unit, 128, change=_heap(0.5, zero=False), plain="embeddings")
_add("ten-heaps", _rows, 64, change=_heaps, plain="clusters")
_add("thirty-distinct", _rows, 48, change=_distinct(30))
_add("copies-20", _rows, 64, change=_repeated(20))
_add("near-copies-5", _unit, 96, change=_repeated(5, 1e-3))

_add("giants-3x1000", _rows, 64, change=_giants(3, 1000), plain="clusters")
_add("giants-20x8", _unit, 128, change=_giants(20, 8), plain="embeddings")
_add("giants-30x1000", _unit, 128, change=_giants(30, 1000), plain="embeddings")
_add("giant-components", _rows, 64, change=_giant_components, plain="clusters")
_add("far-rows-asked", _unit, 128, DISTANCES, change=_giants(120, 8), ask=_farthest(120))
_add("far-rows-few-asked", _unit, 128, DISTANCES, change=_giants(20, 8), ask=_farthest(20, 0.05))
_add("islands-asked", _rows, 64, change=_islands, ask=_farthest(75, 0.2))

_add("tfidf", kinds.tfidf, 256)
_add("counts", kinds.counts, 64)
_add("sift-like", kinds.bytes_like, 128)
_add("integers-0-3", kinds.small_integers, 32)
_add("bits", kinds.bits, 96)
_add("signs", kinds.signs, 64)
_add("fingerprints", kinds.fingerprints, 160)
_add("walks", kinds.walks, 96)
_add("waves", kinds.waves, 96)
_add("windows", kinds.windows, 64)
_add("recommender", kinds.lognormal_lengths, 33, ("Dot",), change=_popular, ask=_last(1))
_add("recommender-any-users", _rows, 32, ("Dot",), change=_popular, ask=_any_lengths)

_add("dim-1", kinds.noise, 1, ("Dot", *DISTANCES))
_add("dim-2", _rows, 2)
_add("dim-3", kinds.uniform, 3)
_add("dim-8", _rows, 8)
_add("dim-17", _rows, 17)
_add("dim-130", _rows, 130)
_add("dim-768", _unit, 768, ("Cosine", "Euclid"))
_add("dim-1536", _unit, 1536, ("Cosine", "Dot"))
_add("manifold", kinds.manifold, 100)
_add("line", kinds.line, 48, ("Dot", *DISTANCES))
_add("grid", kinds.grid, 3)
_add("dominant", kinds.dominant, 64)
_add("constant", kinds.constant, 64)
_add("anisotropic", kinds.anisotropic, 64)
_add("densities", kinds.densities, 48)
_add("hubs", kinds.hubs, 64)
_add("shells", kinds.shells, 32, DISTANCES, ask=_near_zero)
_add("small-1e-12", kinds.scaled(_rows, 1e-12), 48)
_add("small-1e-20", kinds.scaled(_rows, 1e-20), 48, ANGLES, ask=_unit_directions)
_add("large-1e15", kinds.scaled(_rows, 1e15), 48)

_add("random-directions", _rows, 64, ask=_directions)
_add("random-directions-embeddings", _unit, 128, ANGLES, ask=_directions)
_add("opposites", _unit, 128, ask=_opposites)
_add("stored-rows", _rows, 64, ask=_stored)
_add("near-stored-rows", _unit, 128, ask=_near_stored)
_add("between-two-rows", _rows, 64, ask=_between)
_add("near-zero", _rows, 64, ask=_near_zero)
_add("times-0.01", _rows, 64, ask=_times(0.01))
_add("times-100", _rows, 64, ask=_times(100))
_add("times-1e6", _unit, 96, ask=_times(1e6))
_add("any-lengths", _unit, 96, ("Dot", "Euclid"), ask=_any_lengths)
_add("far-away", _rows, 64, ask=_far)
_add("other-model", _unit, 128, ask=_shifted)
_add("two-components", _rows, 48, ask=_one_component)
_add("one-place", _rows, 64, ask=_one_place)


# -- from files --------------------------------------------------------------------------------


def named(folders: Sequence[Path]) -> dict[str, Generator]:
    """All generators, with those of the real sets in some folders."""
    return GENERATORS | real_sets(folders)


def real_sets(folders: Sequence[Path]) -> dict[str, Generator]:
    """A generator for each set: of each folder that has vectors and queries, or has such folders.
    Of many rows, some are picked."""
    sets = [f for folder in folders for f in (folder, *sorted(folder.iterdir())) if _is_set(f)]
    found = {}
    for folder in sets:
        dim = int(np.load(_vectors(folder), mmap_mode="r").shape[1])
        name = f"real-{folder.resolve().name}"
        integers = np.load(_vectors(folder), mmap_mode="r").dtype.kind in "iu"
        metrics = ALL if integers else ("Cosine", "Dot", "Euclid")
        found[name] = Generator(name, _from_files(folder), dim, metrics)
    return found


def _from_files(folder: Path) -> Callable[[int, int, int], Data]:
    def make(rows: int, dim: int, seed: int) -> Data:
        base = np.load(_vectors(folder), mmap_mode="r")
        picked = np.sort(np.random.default_rng(seed).permutation(len(base))[:rows])
        queries = np.load(folder / "queries.npy")[:MOST_QUERIES]
        return Data(_float32(base[picked]), _float32(queries))

    return make


def _vectors(folder: Path) -> Path:
    """As `benchmarks` looks for them."""
    base = folder / "base.npy"
    return base if base.exists() else folder / "vectors.npy"


def _is_set(folder: Path) -> bool:
    return (folder / "queries.npy").is_file() and _vectors(folder).is_file()
