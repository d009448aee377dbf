"""Rates of the kernels on data larger than the caches."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench.common import Floats, K, Run, spread

_ALL = np.empty(0, dtype=np.uint8)
FULL_BYTES = 256 << 20
QUICK_BYTES = 1 << 20
DIM = 384


def measure(run: Run) -> dict[str, Any]:
    """GB/s of the scans, and nanoseconds of one look-up in product tables."""
    from vecdb.kernels import codes, distance

    random = np.random.default_rng(run.seed)
    size = run.times(FULL_BYTES, QUICK_BYTES)
    rates: dict[str, Any] = {}

    def scan(name: str, nbytes: int, call: Any) -> float:
        scores, rows = np.empty(K, np.float32), np.empty(K, np.int64)
        call(scores, rows)
        seconds = []
        for _ in range(run.times(15, 3)):
            started = time.perf_counter()
            call(scores, rows)
            seconds.append(time.perf_counter() - started)
        rates[name] = spread([nbytes / s / 1e9 for s in seconds])
        run.say(f"{name}: {rates[name]['median']:.1f} GB/s")
        return float(np.median(seconds))

    vectors = random.standard_normal((size // (4 * DIM), DIM), dtype=np.float32)
    query = random.standard_normal(DIM, dtype=np.float32)
    for code, metric in enumerate(("dot", "euclid", "manhattan")):

        def floats(scores: Any, rows: Any, code: int = code, vectors: Floats = vectors) -> None:
            distance.scan(code, vectors, query, _ALL, 0, scores, rows, 0)

        scan(f"float32 {metric}", vectors.nbytes, floats)

    data = random.integers(0, 256, size, dtype=np.uint8)
    scalar = data[: size // DIM * DIM].reshape(-1, DIM)
    step, nothing = np.float32(0.01) * query, np.float32(0.0)

    def bytes_(scores: Any, rows: Any) -> None:
        codes.scan_scalar(0, scalar, query, step, nothing, _ALL, 0, scores, rows, 0)

    scan("scalar dot", scalar.nbytes, bytes_)
    for width in (48, 192):
        words = data[: size // width * width].reshape(-1, width).view(np.uint64)
        signs = random.integers(0, 1 << 63, width // 8).astype(np.uint64)
        table = np.linspace(1, -1, 8 * width + 1, dtype=np.float32)

        def bits(
            scores: Any, rows: Any, words: Any = words, signs: Any = signs, table: Any = table
        ) -> None:
            codes.scan_hamming(words, signs, table, _ALL, 0, scores, rows, 0)

        scan(f"hamming, {width}-byte rows", words.nbytes, bits)
    chunks = 96
    product = data[: size // 4 // chunks * chunks].reshape(-1, chunks)
    tables = random.standard_normal(256 * chunks, dtype=np.float32)

    def look_ups(scores: Any, rows: Any) -> None:
        codes.scan_tables(product, tables, _ALL, 0, scores, rows, 0)

    seconds = scan(f"product, {chunks} look-ups a row", product.nbytes, look_ups)
    return {
        "bytes": size,
        "dim": DIM,
        "gb_per_second": rates,
        "product_ns_per_look_up": 1e9 * seconds / product.size,
    }
