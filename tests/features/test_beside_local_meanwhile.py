"""Filters and searches beside local mode, while the optimizer works and another process reads.

Segments come and go, columns are written and dropped, and points in memory, in files and with
edited payloads match as those of local mode do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import qdrant_client
from beside_local import DIM, POINTS, ROWS, point_id
from qdrant_client import models as theirs
from test_conditions_beside_local import richer, whole

from vecdb import VecDB

INDEXES = [
    *[("n", "integer"), ("small", "integer"), ("tag", "keyword"), ("when", "datetime")],
    *[("place", "geo"), ("parts[].place", "geo"), ("group", "keyword"), ("parts[].n", "integer")],
]
# Answers each line, a filter, with the ids that it finds: by a scroll, by a search, and in groups.
READER = """
import json, sys
from vecdb import VecDB
with VecDB(sys.argv[1], read_only=True) as db:
    for line in sys.stdin:
        filter, vector = json.loads(line)
        db.refresh()
        records, _ = db.scroll("c", filter, limit=1000, with_payload=False)
        hits = db.search("c", vector, query_filter=filter, limit=1000)
        few = {"query": vector, "limit": 3}
        groups = db.query_points_groups(
            "c", "group", {"fusion": "rrf"}, None, filter, None, 1000, 1000, prefetch=few
        ).groups
        grouped = [[group.id, sorted(str(hit.id) for hit in group.hits)] for group in groups]
        found = [[each.id for each in some] for some in (records, hits)]
        print(json.dumps([*found, sorted(grouped, key=str)]), flush=True)
"""

Ask = Callable[[dict[str, Any]], list[list[Any]]]


@contextmanager
def reader_of(path: Path) -> Iterator[Ask]:
    """Another process that has the database open."""
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(filter: dict[str, Any]) -> list[list[Any]]:
            print(json.dumps([filter, ROWS[0].tolist()]), file=process.stdin, flush=True)
            assert process.stdout is not None
            return json.loads(process.stdout.readline())  # type: ignore[no-any-return]

        yield ask
        process.stdin.close()
        assert process.wait() == 0


def grouped(db: Any, filter: Any) -> list[list[Any]]:
    """All points that match, in groups, though the prefetch of the query finds three at first."""
    query = theirs.FusionQuery(fusion=theirs.Fusion.RRF)
    few = theirs.Prefetch(query=ROWS[0].tolist(), limit=3)
    groups = db.query_points_groups(
        "c", "group", query, query_filter=filter, prefetch=few, limit=1000, group_size=1000
    ).groups
    found = [[group.id, sorted(str(hit.id) for hit in group.hits)] for group in groups]
    return sorted(found, key=str)


def change(rng: Random, both: list[Any]) -> None:
    """A write to both."""
    some = [point_id(n) for n in rng.sample(range(POINTS), 8)]
    there = [record.id for record in both[0].retrieve("c", some, with_payload=False)]
    kind = rng.choice(("upsert", "upsert", "set_payload", "overwrite_payload", "delete"))
    if kind == "upsert" or not there:
        vectors = rng.sample(range(len(ROWS)), len(some))
        points = [
            theirs.PointStruct(id=one, vector=ROWS[row].tolist(), payload=richer(rng))
            for one, row in zip(some, vectors, strict=True)
        ]
        for db in both:
            db.upsert("c", points)
    elif kind == "delete":
        for db in both:
            db.delete("c", there[:3])
    else:
        payload = richer(rng)
        for db in both:
            getattr(db, kind)("c", payload, points=there)


def test_filters_while_segments_and_columns_come_and_go(tmp_path: Path) -> None:
    rng, client = Random(23), qdrant_client.QdrantClient(":memory:")
    counts = set()
    with VecDB(tmp_path / "db", sync="never") as db:
        busy = {
            "max_optimization_threads": 1,
            "indexing_threshold": 1,
            "default_segment_number": 1,
            "vacuum_min_vector_number": 1,
            "deleted_threshold": 0.1,
        }
        db.create_collection("c", {"size": DIM, "distance": "Dot"}, optimizers_config=busy)
        params = theirs.VectorParams(size=DIM, distance=theirs.Distance.DOT)
        client.create_collection("c", vectors_config=params)
        for start in range(0, POINTS, 40):
            points = [
                theirs.PointStruct(id=point_id(n), vector=ROWS[n].tolist(), payload=richer(rng))
                for n in range(start, start + 40)
            ]
            for each in (db, client):
                each.upsert("c", points)
        with reader_of(db.path) as ask:
            for number in range(60):
                change(rng, [db, client])
                if number % 4 == 0:
                    db.flush("c")
                field, kind = rng.choice(INDEXES)
                if number % 3 == 0:
                    db.create_payload_index("c", field, kind, wait=rng.random() < 0.5)
                elif number % 3 == 1:
                    db.delete_payload_index("c", field)
                filter = whole(rng)
                read = theirs.Filter.model_validate(filter)
                records, _ = client.scroll("c", read, limit=1000, with_payload=False)
                wanted = {record.id for record in records}
                counts.add(len(wanted))
                own, _ = db.scroll("c", filter, limit=1000, with_payload=False)
                hits = db.search("c", ROWS[0], query_filter=filter, limit=1000)
                assert {record.id for record in own} == wanted, filter
                assert {hit.id for hit in hits} == wanted, filter
                *others, groups = ask(filter)
                assert groups == grouped(db, filter) == grouped(client, read), filter
                for found in others:
                    assert len(found) == len(wanted), filter
                    assert set(found) == wanted, filter
        assert db.get_collection("c").optimizer_progress.completed > 5
        assert db.wait_for_optimizer("c")
        assert db.check().ok
    client.close()
    assert len(counts) > 15, "filters that tell points apart"
