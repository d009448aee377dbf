"""Rates of the kernels on data larger than the caches."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.common import K, Run, spread
from vecdb.vectors.datatypes import for_kernels

_ALL = np.empty(0, dtype=np.uint8)
FULL_BYTES = 256 << 20
QUICK_BYTES = 1 << 20
DIM = 384
READ = "plain read"
"""A sum of 64-bit numbers by NumPy: what the memory gives."""


def measure(run: Run) -> dict[str, Any]:
    """GB/s of the scans, codes with what stands beside them, in turns with a plain read."""
    from vecdb.kernels import codes, distance
    from vecdb.quantization import BinaryQuantizer, ProductQuantizer

    random = np.random.default_rng(run.seed)
    size = run.times(FULL_BYTES, QUICK_BYTES)
    scans: dict[str, tuple[int, Any]] = {}

    def scan(name: str, nbytes: int, call: Any) -> None:
        scans[name] = nbytes, call

    vectors = random.standard_normal((size // (4 * DIM), DIM), dtype=np.float32)
    query = random.standard_normal(DIM, dtype=np.float32)
    data = random.integers(0, 256, size, dtype=np.uint8)
    words = data[: size // 8 * 8].view(np.int64)
    scalar = data[: size // DIM * DIM].reshape(-1, DIM)
    halves = np.concatenate([vectors.astype(np.float16)] * 2)
    originals = {"float32": vectors, "float16": for_kernels(halves), "uint8": scalar}
    for datatype, numbers in originals.items():
        for code, metric in enumerate(("dot", "euclid", "manhattan")):

            def floats(scores: Any, rows: Any, code: int = code, numbers: Any = numbers) -> None:
                distance.scan(code, numbers, query, _ALL, 0, scores, rows, 0)

            scan(f"{datatype} {metric}", numbers.nbytes, floats)

    scan(READ, words.nbytes, lambda scores, rows: words.sum())
    step, nothing = np.float32(0.01) * query, np.float32(0.0)

    def bytes_(scores: Any, rows: Any) -> None:
        codes.scan_scalar(0, scalar, query, step, nothing, _ALL, 0, scores, rows, 0)

    scan("scalar dot", scalar.nbytes, bytes_)
    few = random.standard_normal((4096, DIM), dtype=np.float32)
    for name, quantizer in (
        ("binary, 1 bit", BinaryQuantizer.fit(few, "dot", bits=1)),
        ("binary, 4 bits", BinaryQuantizer.fit(few, "dot", bits=4)),
        ("product x16", ProductQuantizer.fit(few, "dot", compression=16)),
    ):
        some = quantizer.encode(few)
        repeated = np.tile(some, (max(1, size // some.nbytes), 1))
        prepared = quantizer.prepare(query)

        def blocks(scores: Any, rows: Any, codes: Any = repeated, asked: Any = prepared) -> None:
            asked.scan(codes, 32 * len(codes), _ALL, 0, scores, rows, 0)

        scan(name, repeated.nbytes, blocks)
    return {"bytes": size, "dim": DIM, "gb_per_second": _in_turns(run, scans)}


def _in_turns(run: Run, scans: dict[str, tuple[int, Any]]) -> dict[str, Any]:
    scores, rows = np.empty(K, np.float32), np.empty(K, np.int64)
    seconds: dict[str, list[float]] = {name: [] for name in scans}
    for turn in range(1 + run.times(15, 3)):
        for name, (_, call) in scans.items():
            started = time.perf_counter()
            call(scores, rows)
            if turn:  # the first one loads the kernel
                seconds[name].append(time.perf_counter() - started)
    rates = {}
    for name, (nbytes, _) in scans.items():
        rates[name] = spread([nbytes / each / 1e9 for each in seconds[name]])
        run.say(f"{name}: {rates[name]['median']:.1f} GB/s")
    return rates
