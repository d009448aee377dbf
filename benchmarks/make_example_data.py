"""How examples/data/debian-packages was made: a small, deterministic part of a larger set.

    python -m benchmarks.make_example_data --data DIR

``DIR`` holds the whole set: ``base.npy`` (58 981 x 384, float16, unit length), ``queries.npy``
(1 000 more, held out), ``gt_cosine.npy`` (each query's nearest rows of base, best first),
``payload.jsonl.gz`` and ``queries_payload.jsonl.gz`` (one JSON object a row). Each row is the
description of a Debian 12 (main) package, embedded with all-MiniLM-L6-v2.

Chosen are the demo's own queries and enough random ones; for each of them its ten nearest rows
of the whole set, so that the answers read like those of the whole set and are as hard to rank;
and random other rows up to 5 000. Rows whose text repeats that of a chosen one are left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 5000
QUERIES = 200
NEIGHBOURS = 10
SEED = 12  # Debian's
FEATURED = ("cherrytree", "amispammer", "songwrite", "tcptraceroute")  # what the demo shows

TARGET = Path(__file__).resolve().parent.parent / "examples" / "data" / "debian-packages"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the example data from the whole set.")
    parser.add_argument("--data", type=Path, required=True, help="directory of the whole set")
    parser.add_argument("--out", type=Path, default=TARGET, help=f"default: {TARGET}")
    arguments = parser.parse_args()
    source: Path = arguments.data
    target: Path = arguments.out

    base = np.load(source / "base.npy")
    queries = np.load(source / "queries.npy")
    nearest = np.load(source / "gt_cosine.npy")
    payload = read_lines(source / "payload.jsonl.gz")
    queries_payload = read_lines(source / "queries_payload.jsonl.gz")

    random = np.random.default_rng(SEED)
    featured = [i for i, row in enumerate(queries_payload) if row["name"] in FEATURED]
    assert len(featured) == len(FEATURED)
    others = np.setdiff1d(random.permutation(len(queries)), featured, assume_unique=True)
    chosen_queries = np.sort(np.concatenate((featured, others[: QUERIES - len(featured)])))

    wanted = nearest[chosen_queries, :NEIGHBOURS].ravel().tolist()
    wanted += random.permutation(len(base)).tolist()
    rows: list[int] = []
    seen: set[bytes] = set()
    for row in wanted:
        key = base[row].tobytes()
        if key not in seen:
            seen.add(key)
            rows.append(row)
        if len(rows) == ROWS:
            break
    rows.sort()

    target.mkdir(parents=True, exist_ok=True)
    np.save(target / "vectors.npy", base[rows].astype(np.float16))
    np.save(target / "queries.npy", queries[chosen_queries].astype(np.float16))
    write_lines(target / "payload.jsonl.gz", [payload[row] for row in rows])
    write_lines(target / "queries.jsonl.gz", [queries_payload[row] for row in chosen_queries])
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{len(rows)} rows, {len(chosen_queries)} queries, {size / 1e6:.2f} MB in {target}")


def read_lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    text = "".join(line + "\n" for line in lines)
    # Without the time of day in the header the same input gives the same bytes.
    path.write_bytes(gzip.compress(text.encode("utf-8"), 9, mtime=0))


if __name__ == "__main__":
    main()
