"""Measure ``vecdb serve``, and other servers on the same vectors in the same run.

    python -m benchmarks.server --data DIR                       all of vecdb: four minutes
    python -m benchmarks.server --data DIR --only upserts memory
    python -m benchmarks.server --data DIR --chroma --milvus     beside these, if installed
    python -m benchmarks.server --data DIR --beside 'NAME=COMMAND'
                                  beside another with Qdrant's interface; COMMAND has places for
                                  {directory}, {port} and {grpc_port}; {filled} in the place of
                                  {directory} is the database of vecdb, for who can open it
    python -m benchmarks.server --data DIR --work DIR --fill ...
                                  only writes what is searched in; with the same --work it is found
                                  there by the next run, which takes seconds for each figure

DIR is as in ``python -m benchmarks``. The server has one processor, the callers another; where
several processes serve (``workers``), all share both. Others search with the least effort whose
recall is vecdb's. Run it alone: what else runs makes the figures worse, and is told with them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.data import Data, K
from benchmarks.server import milvus
from benchmarks.server.contenders import VECDB, Chroma, Contender, Running, least_effort
from benchmarks.server.load import Figures, over_grpc, over_http, post

_PARTS = ("rest", "grpc", "workers", "upserts", "memory")
_HTTP2 = f"{VECDB} --grpc-engine h2"
_LONG = {"hnsw_ef": 4000}
"""Of these the callers' share is small, also where they share processors with the server."""


class Bench:
    """One run: the data, the processors, and where the databases are."""

    def __init__(self, data: Data, options: argparse.Namespace, work: Path) -> None:
        self.data = data
        self.options = options
        self.work = work
        self.server, self.callers = options.cores
        self.vecdb = Contender("vecdb", VECDB)
        self.recall = 0.0

    def filled(self, contender: Contender) -> Path:
        """The directory with its database, which an earlier run may have filled."""
        if contender.opens_vecdbs:
            contender = self.vecdb
        place = self.work / re.sub(r"\W+", "-", contender.name)
        mark, what = place / "filled", f"{self.data.name} {self.data.rows}"
        if not mark.exists() or mark.read_text() != what:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            with contender.running(place, self.options.cores) as running:
                contender.fill(running, self.data)
            mark.write_text(what)
        return place

    def asked(self, running: Running, requests: list[bytes], connections: int) -> Figures:
        """What so many connections come to."""
        seconds = self.options.seconds
        return over_http(running.process, running.port, requests, connections, seconds)

    def searches(self, contender: Contender, parts: set[str]) -> dict[str, Any]:
        """Over HTTP, and over gRPC where it has that, at the recall of vecdb or above."""
        place = self.filled(contender)
        figures: dict[str, Any] = {}
        if contender.has_effort:
            figures["effort"] = self.effort(contender, place)
        with contender.running(place, [self.server]) as running:
            contender.settle(running)
            figures["recall"] = contender.recall(running, self.data)
            if "rest" in parts:
                for name, with_payload, connections in (
                    ("with payload, 16", True, 16),
                    ("without payload, 16", False, 16),
                    ("with payload, 1", True, 1),
                ):
                    requests = contender.searches(self.data, with_payload=with_payload)
                    figures[name] = self.asked(running, requests, connections)
            if "grpc" in parts and "{grpc_port}" in contender.command:
                method, calls = _grpc_searches(self.data)
                figures["gRPC without payload, 16"] = over_grpc(
                    running.process, running.grpc_port, method, calls, 16, self.options.seconds
                )
        return figures

    def effort(self, contender: Contender, place: Path) -> int:
        """The least that comes to the recall of vecdb; it is set."""

        def found(effort: int) -> float:
            with contender.running(place, self.options.cores) as running:
                contender.settle(running)
                contender.set_effort(running, effort)
            with contender.running(place, self.options.cores) as running:
                contender.settle(running)
                return contender.recall(running, self.data)

        return least_effort(found, self.recall)

    def workers(self) -> dict[str, Any]:
        """One process and two, which have both processors, as the callers have."""
        long = [
            post(
                "/collections/b/points/query",
                msgspec.json.encode({"query": query.tolist(), "limit": K, "params": _LONG}),
            )
            for query in self.data.queries
        ]
        short = self.vecdb.searches(self.data, with_payload=True)
        figures = {}
        psutil.Process().cpu_affinity(self.options.cores)
        for count in (1, 2):
            contender = Contender("workers", f"{VECDB} --workers {count}")
            with contender.running(self.filled(self.vecdb), self.options.cores) as running:
                contender.settle(running)
                figures[f"with payload, 16, workers {count}"] = self.asked(running, short, 16)
                figures[f"hnsw_ef 4000, 16, workers {count}"] = self.asked(running, long, 16)
        psutil.Process().cpu_affinity([self.callers])
        return figures

    def upserts(self) -> dict[str, Any]:
        """Durable writes of one point, by one caller and by 64 at once."""
        with (
            tempfile.TemporaryDirectory(dir=self.work) as place,
            self.vecdb.running(Path(place), [self.server], sync="always") as running,
        ):
            size = {"size": self.data.dim, "distance": "Cosine"}
            running.put("/collections/b", msgspec.json.encode({"vectors": size}))
            points = [{"id": n, "vector": self.data.base[n].tolist()} for n in range(2000)]
            requests = [
                post(
                    "/collections/b/points?wait=true",
                    msgspec.json.encode({"points": [point]}),
                    "PUT",
                )
                for point in points
            ]
            return {
                f"durable upserts, {connections}": self.asked(running, requests, connections)
                for connections in (1, 64)
            }

    def memory(self, contender: Contender) -> dict[str, Any]:
        """Of a server that nobody has asked for anything yet."""
        with (
            tempfile.TemporaryDirectory(dir=self.work) as place,
            contender.running(Path(place), [self.server]) as running,
        ):
            return {"idle, private MB": running.private_bytes / 1e6}


def _grpc_searches(data: Data) -> tuple[str, list[bytes]]:
    from qdrant_client import grpc

    searches = (
        grpc.SearchPoints(collection_name="b", vector=query.tolist(), limit=K)
        for query in data.queries
    )
    return "/qdrant.Points/Search", [each.SerializeToString() for each in searches]


def measure(bench: Bench) -> dict[str, dict[str, Any]]:
    """Everything, by the name of the server."""
    options = bench.options
    parts = set(options.only)
    http2 = Contender("vecdb, h2", _HTTP2.replace("{directory}", "{filled}"))
    others = [Contender(*each.split("=", 1)) for each in options.beside]
    others += [Chroma()] if options.chroma else []
    results: dict[str, dict[str, Any]] = {}

    def note(name: str, figures: dict[str, Any]) -> None:
        results.setdefault(name, {}).update(figures, load=os.getloadavg()[0])
        print(f"{name}: {', '.join(figures)}", file=sys.stderr, flush=True)

    searched = {"rest", "grpc"} & parts
    if searched:
        note("vecdb", bench.searches(bench.vecdb, searched))
        bench.recall = results["vecdb"]["recall"]
    if "grpc" in parts:
        note(http2.name, bench.searches(http2, {"grpc"}))
    for contender in others if searched else ():
        note(contender.name, bench.searches(contender, searched))
    if options.milvus and "rest" in parts:
        server = milvus.Milvus()
        with server.running(bench.filled(server), [bench.server]) as running:
            figures = milvus.measure(running, bench.data, bench.recall, options.seconds)
        note(server.name, figures)
    if "workers" in parts:
        note("vecdb", bench.workers())
    if "upserts" in parts:
        note("vecdb", bench.upserts())
    if "memory" in parts:
        note("vecdb", bench.memory(bench.vecdb))
        note(http2.name, bench.memory(http2))
        alone = Contender("vecdb, no gRPC", VECDB.replace("--grpc-port {grpc_port}", "--no-grpc"))
        note(alone.name, bench.memory(alone))
    return results


def fill(bench: Bench) -> None:
    """Write what is searched in, for a later run."""
    contenders = [bench.vecdb]
    contenders += [Contender(*each.split("=", 1)) for each in bench.options.beside]
    contenders += [Chroma()] if bench.options.chroma else []
    contenders += [milvus.Milvus()] if bench.options.milvus else []
    for contender in contenders:
        print(f"{contender.name}: {bench.filled(contender)}", file=sys.stderr, flush=True)


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
    parser.add_argument("--work", type=Path, help="for the databases; what is filled is kept")
    parser.add_argument("--fill", action="store_true", help="only fill the databases of --work")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if any("=" not in each for each in options.beside):
        parser.error("expected --beside NAME=COMMAND")
    if options.fill and options.work is None:
        parser.error("--fill: expected --work DIR, where it is kept")
    options.cores = sorted(os.sched_getaffinity(0))[:2]
    if len(options.cores) < 2:
        parser.error("a processor for the server and one for the callers are needed")
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        bench = Bench(Data(options.data, queries=2000), options, work)
        if options.fill:
            fill(bench)
            return 0
        psutil.Process().cpu_affinity([bench.callers])
        results = measure(bench)
    print(table(results))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
