"""Search only among the points whose payload matches a filter: a section, a size, a tag.

Run it with ``python examples/filtered_search.py``.
"""

import gzip
import json
from pathlib import Path

import numpy as np

import vecdb
from vecdb.models import (
    Distance,
    FieldCondition,
    Filter,
    MatchAny,
    MatchValue,
    Range,
    VectorParams,
)

DATA = Path(__file__).parent / "data" / "debian-packages"

SMALL = FieldCondition(key="installed_size_kib", range=Range(lt=1000))
SCIENCE = FieldCondition(key="section", match=MatchAny(any=["science", "math", "electronics"]))
GRAPHICAL = FieldCondition(key="tags", match=MatchValue(value="interface::graphical"))

FILTERS = {
    "no filter": None,
    "science, math or electronics": Filter(must=[SCIENCE]),
    "the same, below 1 MB": Filter(must=[SCIENCE, SMALL]),
    "graphical, none of these sections": Filter(must=[GRAPHICAL], must_not=[SCIENCE]),
}


def main() -> None:
    vectors = np.load(DATA / "vectors.npy").astype(np.float32)
    with gzip.open(DATA / "payload.jsonl.gz", "rt", encoding="utf-8") as lines:
        payloads = [json.loads(line) for line in lines]

    with vecdb.VecDB(":memory:") as db:  # a temporary directory, removed at the end
        db.create_collection(
            "packages", VectorParams(size=vectors.shape[1], distance=Distance.COSINE)
        )
        packages = db.collection("packages")
        packages.upload_collection(vectors, payload=payloads, ids=np.arange(len(vectors)))

        query = vectors[0]
        print(f"like {payloads[0]['summary']!r}")
        for title, condition in FILTERS.items():
            print(f"\n{title}: {packages.count(condition).count} points")
            for hit in packages.search(query, condition, limit=3):
                p = hit.payload or {}
                print(f"  {hit.score:.3f}  {p['name']:<24} {p['section']:<12} {p['summary']}")


if __name__ == "__main__":
    main()
