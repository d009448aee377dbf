"""Make a database, write 5 000 package descriptions with their embeddings, search, reopen.

Run it with ``python examples/quickstart.py``.
"""

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import vecdb
from vecdb import models

DATA = Path(__file__).parent / "data" / "debian-packages"


def read_lines(name: str) -> list[dict[str, Any]]:
    """One JSON object a line."""
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main() -> None:
    vectors = np.load(DATA / "vectors.npy").astype(np.float32)
    payloads = read_lines("payload.jsonl.gz")
    query = np.load(DATA / "queries.npy").astype(np.float32)[0]
    query_text = read_lines("queries.jsonl.gz")[0]["summary"]

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "packages.db"
        with vecdb.VecDB(path) as db:
            params = models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE)
            db.create_collection("packages", params)
            db.upload_collection("packages", vectors, payload=payloads, ids=np.arange(len(vectors)))
            print(db.collection("packages"))

        with vecdb.VecDB(path) as db:  # everything is still there
            print(f"\nlike {query_text!r}:")
            for hit in db.search("packages", query, limit=5):
                payload = hit.payload or {}
                print(f"  {hit.score:.3f}  {payload['name']:<20} {payload['summary']}")


if __name__ == "__main__":
    main()
