"""Kinds of rows that people store, as functions that draw some of them.

Each takes a random generator, a count and a dimension, and gives ``float64 (count, dim)``. What is
drawn together is of one distribution: some of it may be the queries.
"""

# mypy: disable-error-code=no-any-return
# (what arithmetic on arrays gives is Any)

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Random = np.random.Generator
Draw = Callable[[Random, int, int], Floats]


def unit_length(rows: Floats) -> Floats:
    """Rows scaled to length 1; zero rows stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


# -- ordinary ----------------------------------------------------------------------------------


def clusters(random: Random, count: int, dim: int) -> Floats:
    """Around 100 centres, as far apart as the clusters are wide."""
    centres = random.normal(size=(100, dim)) * 0.7
    return centres[random.integers(100, size=count)] + random.normal(size=(count, dim))


def embeddings(random: Random, count: int, dim: int) -> Floats:
    """As models give them: few degrees of freedom, uneven clusters, a little noise, length 1."""
    latent = min(24, dim)
    centres = random.normal(size=(150, latent))
    weights = np.exp(random.normal(size=150))
    of = random.choice(150, count, p=weights / weights.sum())
    inner = centres[of] + 0.5 * random.normal(size=(count, latent))
    outer = inner @ random.normal(size=(latent, dim))
    noise = random.normal(size=(count, dim)) * (0.05 * np.sqrt(latent))
    return unit_length(outer + noise)


def noise(random: Random, count: int, dim: int) -> Floats:
    """Normal, without any structure."""
    return random.normal(size=(count, dim))


def uniform(random: Random, count: int, dim: int) -> Floats:
    """Anywhere in a cube."""
    return random.uniform(size=(count, dim))


# -- lengths and scales ------------------------------------------------------------------------


def lognormal_lengths(random: Random, count: int, dim: int) -> Floats:
    rows = unit_length(clusters(random, count, dim))
    return rows * np.exp(random.normal(size=(count, 1)))


def pareto_lengths(random: Random, count: int, dim: int) -> Floats:
    """Most are short, some hundreds of times as long."""
    rows = unit_length(clusters(random, count, dim))
    return rows * (1 + random.pareto(1.5, size=(count, 1)))


def heavy_tails(random: Random, count: int, dim: int) -> Floats:
    """Single components that are far larger than the rest (Student's t, two degrees)."""
    return clusters(random, count, dim) + random.standard_t(2, size=(count, dim))


def two_scales(random: Random, count: int, dim: int) -> Floats:
    """Half of the rows a thousand times as large as the others."""
    return clusters(random, count, dim) * np.where(random.random((count, 1)) < 0.5, 1.0, 1000.0)


def scaled(draw: Draw, factor: float) -> Draw:
    """The same, larger or smaller."""
    return lambda random, count, dim: draw(random, count, dim) * factor


def offset(draw: Draw, by: float) -> Draw:
    """The same, away from zero in every component."""
    return lambda random, count, dim: draw(random, count, dim) + by


def dominant(random: Random, count: int, dim: int) -> Floats:
    """One dimension a hundred times as wide as the others."""
    rows = clusters(random, count, dim)
    rows[:, dim // 3] *= 100
    return rows


def constant(random: Random, count: int, dim: int) -> Floats:
    """Half of the dimensions the same in every row."""
    rows = clusters(random, count, dim)
    rows[:, ::2] = 7
    return rows


def anisotropic(random: Random, count: int, dim: int) -> Floats:
    """Each direction narrower than the one before, down to a ten-thousandth."""
    turn = np.linalg.qr(random.normal(size=(dim, dim)))[0]
    return (random.normal(size=(count, dim)) * np.geomspace(1, 1e-4, dim)) @ turn


def densities(random: Random, count: int, dim: int) -> Floats:
    """Clusters of very different size and width."""
    weights = 1.0 / np.arange(1, 61)
    of = random.choice(60, count, p=weights / weights.sum())
    widths = np.geomspace(0.01, 3, 60)[random.permutation(60)]
    centres = 2 * random.normal(size=(60, dim))
    return centres[of] + widths[of, None] * random.normal(size=(count, dim))


def hubs(random: Random, count: int, dim: int) -> Floats:
    """Rows near the middle are neighbours of nearly all others."""
    return random.normal(size=(count, dim)) * random.uniform(0.3, 1.5, size=(count, 1))


def shells(random: Random, count: int, dim: int) -> Floats:
    """On three spheres around the same place."""
    return unit_length(noise(random, count, dim)) * random.choice([1.0, 2.0, 4.0], (count, 1))


# -- few degrees of freedom --------------------------------------------------------------------


def manifold(random: Random, count: int, dim: int) -> Floats:
    """A curved surface of four dimensions."""
    place = random.uniform(-1, 1, size=(count, 4))
    bent = np.sin(place @ random.normal(size=(4, 3 * dim)) * 2 + random.uniform(0, 6, 3 * dim))
    return bent @ random.normal(size=(3 * dim, dim)) / np.sqrt(3 * dim)


def line(random: Random, count: int, dim: int) -> Floats:
    """Along one line, nearly."""
    along = random.normal(size=(count, 1)) * random.normal(size=dim)
    return along * 10 + 0.01 * random.normal(size=(count, dim))


def grid(random: Random, count: int, dim: int) -> Floats:
    """Whole numbers in a small box: distances tie everywhere."""
    side = max(2, round(count ** (1 / dim)))
    return random.integers(side, size=(count, dim)).astype(np.float64)


# -- words, counts, bits -----------------------------------------------------------------------


def tfidf(random: Random, count: int, dim: int) -> Floats:
    """Mostly zeros, nothing negative, common words and rare ones, length 1."""
    common = 1.0 / np.arange(1, dim + 1) ** 0.7
    topics = random.gamma(0.3, size=(40, dim)) * common
    topics /= topics.sum(axis=1, keepdims=True)
    words = random.poisson(12 * topics[random.integers(40, size=count)])
    return unit_length(words.astype(np.float64) * np.log(2 / common))


def counts(random: Random, count: int, dim: int) -> Floats:
    """Small whole numbers, most of them zero."""
    rates = random.gamma(0.2, 2.0, size=(60, dim))
    return random.poisson(rates[random.integers(60, size=count)]).astype(np.float64)


def bytes_like(random: Random, count: int, dim: int) -> Floats:
    """Histograms of gradients, 0 to 255, as SIFT gives them."""
    shapes = random.gamma(0.8, size=(80, dim))[random.integers(80, size=count)]
    rows = unit_length(random.gamma(0.3 + 2 * shapes)) * 512
    return np.floor(np.minimum(rows, 255))


def small_integers(random: Random, count: int, dim: int) -> Floats:
    """0 to 3: answers to a questionnaire, say."""
    likely = random.dirichlet(np.ones(4) * 0.5, size=(50, dim)).cumsum(axis=2)
    of = random.integers(50, size=count)
    answers: Floats = (random.random((count, dim, 1)) > likely[of][..., :3]).sum(axis=2) * 1.0
    return answers


def bits(random: Random, count: int, dim: int) -> Floats:
    """0 and 1, around 50 patterns."""
    patterns = random.random((50, dim)) < 0.5
    flipped = random.random((count, dim)) < 0.15
    return (patterns[random.integers(50, size=count)] ^ flipped).astype(np.float64)


def signs(random: Random, count: int, dim: int) -> Floats:
    """-1 and 1."""
    return 2 * bits(random, count, dim) - 1


def fingerprints(random: Random, count: int, dim: int) -> Floats:
    """Bits of which few are set, as of molecules."""
    patterns = random.random((50, dim)) < 0.06
    kept = patterns[random.integers(50, size=count)] & (random.random((count, dim)) < 0.8)
    return (kept | (random.random((count, dim)) < 0.02)).astype(np.float64)


# -- series ------------------------------------------------------------------------------------


def walks(random: Random, count: int, dim: int) -> Floats:
    """Random walks: a component is near the one before."""
    return random.normal(size=(count, dim)).cumsum(axis=1)


def waves(random: Random, count: int, dim: int) -> Floats:
    """Sinusoids of any frequency, phase and height, with noise."""
    time = np.arange(dim) / dim
    frequency, phase = random.uniform(1, 8, (count, 1)), random.uniform(0, 6.3, (count, 1))
    pure = random.uniform(0.5, 3, (count, 1)) * np.sin(6.283 * frequency * time + phase)
    rows: Floats = pure + 0.1 * random.normal(size=(count, dim))
    return rows


def windows(random: Random, count: int, dim: int) -> Floats:
    """Every stretch of one long series: neighbours overlap."""
    time = np.arange(count + dim)
    drift = 0.05 * random.normal(size=count + dim).cumsum()
    series = np.sin(time / 7) + np.sin(time / 31.7) + drift
    rows: Floats = np.lib.stride_tricks.sliding_window_view(series, dim)[:count]
    return rows[random.permutation(count)]
