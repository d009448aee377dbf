"""Measure ``vecdb serve``, and other servers on the same vectors in the same run.

    python -m benchmarks.server --data DIR                       all of it: ten minutes
    python -m benchmarks.server --data DIR --only upserts memory
    python -m benchmarks.server --data DIR --chroma --milvus     beside these, if installed
    python -m benchmarks.server --data DIR --beside 'NAME=COMMAND'
                                  beside another with Qdrant's interface; COMMAND has places for
                                  {directory}, {port} and {grpc_port}

DIR is as in ``python -m benchmarks``. The server has one processor, the callers another. Run it
alone: what else runs makes the figures worse, and is told with them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.data import Data
from benchmarks.server import milvus
from benchmarks.server.contenders import VECDB, Chroma, Contender, Running
from benchmarks.server.load import Figures, over_grpc, over_http, post

_PARTS = ("rest", "grpc", "upserts", "memory")
_DIM = 384


def _search(
    contender: Contender, running: Running, data: Data, options: argparse.Namespace
) -> dict[str, Any]:
    """What searches come to over HTTP, and over gRPC where it has that."""
    contender.fill(running, data)
    requests = contender.searches(data, with_payload=True)
    found = [contender.found(running.ask(each)) for each in requests[:500]]
    figures: dict[str, Any] = {"recall": data.recall(found)}
    plain = contender.searches(data, with_payload=False)
    if "rest" in options.only:
        for name, asked, connections in (
            ("with payload, 16", requests, 16),
            ("without payload, 16", plain, 16),
            ("with payload, 1", requests, 1),
        ):
            figures[name] = over_http(
                running.process, running.port, asked, connections, options.seconds
            )
    if "grpc" in options.only and "{grpc_port}" in contender.command:
        method, calls = _grpc_searches(data)
        figures["gRPC without payload, 16"] = over_grpc(
            running.process, running.grpc_port, method, calls, 16, options.seconds
        )
    return figures


def _grpc_searches(data: Data) -> tuple[str, list[bytes]]:
    from qdrant_client import grpc

    searches = (
        grpc.SearchPoints(collection_name="b", vector=query.tolist(), limit=10)
        for query in data.queries
    )
    return "/qdrant.Points/Search", [each.SerializeToString() for each in searches]


def _upserts(contender: Contender, options: argparse.Namespace) -> dict[str, Any]:
    """Durable writes of one point, by one caller and by 64 at once."""
    figures = {}
    with (
        tempfile.TemporaryDirectory(dir=options.work) as place,
        contender.running(Path(place), options.cores[0], sync="always") as running,
    ):
        size = {"size": _DIM, "distance": "Cosine"}
        running.put("/collections/b", msgspec.json.encode({"vectors": size}))
        requests = [
            post(
                "/collections/b/points?wait=true",
                msgspec.json.encode({"points": [{"id": n, "vector": [n + 1.0] * _DIM}]}),
                "PUT",
            )
            for n in range(2000)
        ]
        for connections in (1, 64):
            figures[f"durable upserts, {connections}"] = over_http(
                running.process, running.port, requests, connections, options.seconds
            )
    return figures


def _memory(contender: Contender, options: argparse.Namespace) -> dict[str, Any]:
    """Of a server that nobody has asked for anything yet."""
    with (
        tempfile.TemporaryDirectory(dir=options.work) as place,
        contender.running(Path(place), options.cores[0]) as running,
    ):
        return {"idle, private MB": running.private_bytes / 1e6}


def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Everything, by the name of the server."""
    data = Data(options.data, queries=2000)
    vecdb = Contender("vecdb", VECDB)
    contenders = [vecdb, Contender("vecdb, h2", f"{VECDB} --grpc-engine h2")]
    for each in options.beside:
        name, _, command = each.partition("=")
        contenders.append(Contender(name, command))
    if options.chroma:
        contenders.append(Chroma())
    results: dict[str, dict[str, Any]] = {}
    for contender in contenders:
        print(f"=== {contender.name}", file=sys.stderr, flush=True)
        found: dict[str, Any] = {}
        if "memory" in options.only and contender in contenders[:2]:
            found |= _memory(contender, options)
        if "upserts" in options.only and contender is vecdb:
            found |= _upserts(contender, options)
        if {"rest", "grpc"} & set(options.only):
            with (
                tempfile.TemporaryDirectory(dir=options.work) as place,
                contender.running(Path(place), options.cores[0]) as running,
            ):
                found |= _search(contender, running, data, options)
        found["load"] = os.getloadavg()[0]
        results[contender.name] = found
    if options.milvus:
        print("=== Milvus Lite", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=options.work) as place:
            core, seconds = options.cores[0], options.seconds
            results["Milvus Lite"] = milvus.measure(data, Path(place), core, seconds)
    return results


def table(results: dict[str, dict[str, Any]]) -> str:
    """For people."""
    lines = [
        "| server | what | requests/s | p50 ms | p99 ms | its processor, µs |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for name, found in results.items():
        for what, figures in found.items():
            if isinstance(figures, Figures):
                rate, cpu = f"{figures.per_second:,.0f}", f"{figures.cpu_us:,.0f}"
                times = f"{figures.p50:.2f} | {figures.p99:.2f}"
                lines.append(f"| {name} | {what} | {rate} | {times} | {cpu} |")
    for name, found in results.items():
        plain = {what: each for what, each in found.items() if not isinstance(each, Figures)}
        lines.append(f"\n{name}: {', '.join(f'{what} {each:.4g}' for what, each in plain.items())}")
    return "\n".join(lines)


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=list(_PARTS))
    parser.add_argument("--beside", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--chroma", action="store_true", help="beside ChromaDB's server")
    parser.add_argument("--milvus", action="store_true", help="beside Milvus Lite, by its client")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--work", type=Path, help="for the databases")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.cores = sorted(os.sched_getaffinity(0))[:2]
    if len(options.cores) < 2:
        parser.error("a processor for the server and one for the callers are needed")
    psutil.Process().cpu_affinity([options.cores[1]])
    results = measure(options)
    print(table(results))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
