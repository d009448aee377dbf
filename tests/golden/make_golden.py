"""Write the golden files of this format version, or of what was added to it without a new one. Run
once for each, never again after.

    python tests/golden/make_golden.py                  all there is: of a new version
    python tests/golden/make_golden.py multivectors     what every file has, and what was added

``format-VERSION/``, or ``format-VERSION-ADDED/``, gets ``db`` (a database left by a process that
died, with operations in its log), ``full.snapshot`` (an archive of it) and ``expected.json`` (all
that must be read from both).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vecdb import Collection, VecDB, models
from vecdb.storage.format import VERSION

HERE = Path(__file__).resolve().parent
DIM, ROWS = 8, 40
SPARSE_ROWS = MANY_ROWS = 266
"""Fewer get no index."""
UUID = "6f9619ff-8b86-4d01-b42d-00c04fc9{:04x}"
CODES: dict[str, Any] = {
    "scalar": {"scalar": {"type": "int8", "quantile": 0.99}},
    "binary": {"binary": {"always_ram": True}},
    "product": {"product": {"compression": "x8"}},
}


DATATYPES = {"scalar": "float16", "binary": "uint8", "product": "float32"}


def block(seed: int, count: int) -> np.ndarray:
    """Values that float32 and JSON both have exactly."""
    random = np.random.default_rng(seed)
    return (random.integers(-64, 64, (count, DIM)) / 16).astype(np.float32)


def sparse(number: int) -> dict[str, Any]:
    """Some indices, small and large, and values as of ``block``; of every seventh none."""
    random = np.random.default_rng(number)
    size = number % 7
    indices = random.choice([0, 1, 2, 3, 65_536, 2**31, 2**32 - 1], size, replace=False)
    return {
        "indices": np.sort(indices).tolist(),
        "values": (random.integers(-32, 64, size) / 16).tolist(),
    }


def write_sparse(db: VecDB) -> None:
    """Sparse vectors of two names beside dense ones, with postings, dead rows, rows without, and a
    text index that counts; and of these operations beyond the checkpoint, too."""
    db.create_collection(
        "words",
        {"dense": {"size": DIM, "distance": "Dot"}},
        optimizers_config={"indexing_threshold": 1},
        sparse_vectors_config={"idf": {"modifier": "idf"}, "mapped": {"index": {"on_disk": True}}},
    )
    db.create_payload_index("words", "text", {"type": "text", "scoring": True})

    def points(first: int, last: int) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for n in range(first, last):
            vectors = {
                "dense": block(3, SPARSE_ROWS)[n].tolist(),
                "idf": sparse(n),
                "mapped": sparse(999 - n),
            }
            kept = {name: v for name, v in vectors.items() if (n + len(name)) % 5}
            text = " ".join(["red", "apple", "tree"][: n % 4] * (1 + n % 3))
            made.append({"id": n, "vector": kept, "payload": {"text": text}})
        return made

    db.upsert("words", points(0, SPARSE_ROWS - 6))
    db.delete("words", [3, 4, 5])
    db.flush("words")
    db.wait_for_optimizer("words")
    db.upsert("words", points(SPARSE_ROWS - 6, SPARSE_ROWS))
    db.update_vectors("words", [{"id": 7, "vector": {"idf": sparse(6)}}])
    db.delete_vectors("words", ["mapped"], [8, 9])
    db.set_payload("words", {"text": "tree tree"}, [10])
    db.delete("words", [11])


def many(number: int, vector: str) -> list[list[float]]:
    """One to four tokens."""
    return block(100 + number + len(vector), 1 + number % 4).tolist()


def write_many(db: VecDB) -> None:
    """Multivectors of three names, each with codes of another kind, one in RAM, with an index of
    tokens, dead rows, rows without; and operations beyond the checkpoint."""
    metrics = {"scalar": "Dot", "binary": "Cosine", "product": "Euclid"}
    db.create_collection(
        "many",
        {
            name: {
                "size": DIM,
                "distance": metrics[name],
                "multivector_config": {"comparator": "max_sim"},
                "quantization_config": config,
                "on_disk": name != "binary",
            }
            for name, config in CODES.items()
        },
        optimizers_config={"indexing_threshold": 1},
    )

    def points(first: int, last: int) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for n in range(first, last):
            vectors = {name: many(n, name) for name in CODES if (n + len(name)) % 5}
            made.append({"id": n, "vector": vectors, "payload": {"n": n}})
        return made

    db.upsert("many", points(0, MANY_ROWS - 6))
    db.delete("many", [3, 4, 5])
    db.flush("many")
    db.wait_for_optimizer("many")
    db.upsert("many", points(MANY_ROWS - 6, MANY_ROWS))
    db.update_vectors("many", [{"id": 7, "vector": {"scalar": many(6, "new")}}])
    db.delete_vectors("many", ["product"], [8, 9])
    db.delete("many", [11])


def write(db: VecDB) -> None:
    """Segments with codes, dead rows and edited payloads, and operations of every kind beyond the
    checkpoint."""
    small: Any = {"indexing_threshold": 1, "memmap_threshold": 1}
    db.create_collection(
        "Codes ü",
        {
            name: {
                "size": DIM,
                "distance": "Euclid",
                "datatype": DATATYPES[name],
                "quantization_config": config,
            }
            for name, config in CODES.items()
        },
        optimizers_config=small,
    )
    ids = [UUID.format(n) if n % 2 else n for n in range(ROWS)]
    for first in (0, ROWS // 2):
        points = []
        for n in range(first, first + ROWS // 2):
            vectors = {name: block(k, ROWS)[n].tolist() for k, name in enumerate(CODES)}
            if n % 5 == 0:
                del vectors["binary"]
            points.append({"id": ids[n], "vector": vectors, "payload": {"n": n, "a": {"b": [n]}}})
        db.upsert("Codes ü", points)
    db.delete("Codes ü", ids[3:6])
    db.flush()
    db.wait_for_optimizer()
    db.create_collection("plain", {"size": DIM, "distance": "Dot"})
    db.upsert("plain", {"ids": list(range(ROWS)), "vectors": block(9, ROWS)})
    db.flush()
    for name in ("Codes ü", "plain"):
        db.set_payload(name, {"edited": [1, {"x": "ü"}]}, [2, 14, 20])
        db.overwrite_payload(name, {"only": None}, [22, 24])
    db.flush()
    for name in ("Codes ü", "plain"):
        db.set_payload(name, {"set": [1, None, "ü", 0.5]}, [2, 8], key="deep")
        db.delete_payload(name, ["n"], [10])
        db.delete(name, [12])
    db.update_vectors("plain", [{"id": 7, "vector": [1.0] * DIM}])
    db.delete_vectors("plain", [""], [9])
    db.upsert("plain", {"ids": [2**64 - 1], "vectors": [[0.5] * DIM], "payloads": [{"last": 1}]})


ADDED = {"sparse-and-texts": write_sparse, "multivectors": write_many}
"""What was added to the format, and what writes a collection that has it."""


def contents(db: VecDB) -> dict[str, Any]:
    """All points, and the order in which a search finds them."""
    found: dict[str, Any] = {}
    for name in [c.name for c in db.get_collections().collections]:
        collection = db.collection(name)
        records, _ = collection.scroll(limit=1000, with_vectors=True)
        if name == "words":
            found[name] = of_words(collection, records)
            continue
        if name == "many":
            found[name] = of_many(collection, records)
            continue
        names = list(CODES) if name != "plain" else [""]
        hits = {}
        for vector in names:
            query = np.linspace(-1, 1, DIM).tolist()
            given = (vector, query) if vector else query
            params: Any = {"quantization": {"oversampling": float(ROWS)}}
            answer = collection.search(given, search_params=params, limit=10)
            hits[vector] = [[hit.id, round(hit.score, 4)] for hit in answer]
        # The files of before say None of a point without vectors, where a record says {}.
        points = [[r.id, r.payload, r.vector or None] for r in records]
        found[name] = {"points": points, "hits": hits}
    return found


def of_words(collection: Collection, records: list[models.Record]) -> dict[str, Any]:
    """The same of sparse vectors and texts."""
    query = {"indices": [0, 2, 65_536, 2**32 - 1], "values": [1.0, 0.5, 2.0, 1.5]}
    asked: dict[str, Any] = {
        "dense": np.linspace(-1, 1, DIM).tolist(),
        "idf": query,
        "mapped": query,
        "text": {"text": "apple tree"},
    }
    hits = {
        using: sorted(
            [-round(hit.score, 4), hit.id]
            for hit in collection.query_points(each, using=using, limit=SPARSE_ROWS).points
        )
        for using, each in asked.items()
    }
    return {
        "points": models.to_builtins([[r.id, r.payload, r.vector] for r in records]),
        "hits": hits,
    }


def of_many(collection: Collection, records: list[models.Record]) -> dict[str, Any]:
    """The same of multivectors: by originals, whatever codes choose."""
    params: Any = {"quantization": {"oversampling": float(MANY_ROWS)}}
    hits = {
        using: [
            [hit.id, round(hit.score, 4)]
            for hit in collection.query_points(
                many(5, "query"), using=using, search_params=params, limit=10
            ).points
        ]
        for using in CODES
    }
    return {
        "points": models.to_builtins([[r.id, r.payload, r.vector] for r in records]),
        "hits": hits,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("added", nargs="?", choices=ADDED)
    parser.add_argument("--die-in", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    added = arguments.added
    if arguments.die_in is not None:
        db = VecDB(arguments.die_in)
        write(db)
        for name in ADDED if added is None else [added]:
            ADDED[name](db)
        db.wait_for_optimizer()
        os._exit(0)
    target = HERE / f"format-{VERSION}{'' if added is None else '-' + added}"
    target.mkdir()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "db"
        given = [] if added is None else [added]
        subprocess.run([sys.executable, __file__, *given, "--die-in", str(path)], check=True)
        (path / "LOCK").write_text("")  # it names a process and its host
        shutil.copytree(path, target / "db", ignore=shutil.ignore_patterns("lock.mdb"))
        with VecDB(path) as db:
            expected = contents(db)
            name = db.create_full_snapshot().name
        shutil.copy(path / "snapshots" / name, target / "full.snapshot")
    text = json.dumps(expected, ensure_ascii=False, indent=None, separators=(",", ":"))
    (target / "expected.json").write_text(text.replace("]],[", "]],\n[") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
