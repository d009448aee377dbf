#!/usr/bin/env bash
# faiss-cpu 1.15.1: an exact index (IndexFlatL2) gives the same query other neighbours in a large batch.
#
# Seen: stored vectors of 64 dimensions, drawn around 1000, are asked for themselves. 1,999 at a time
# each finds itself at distance 0; with one query more, some of the same queries find another row, or
# themselves at distance 40. From 128,000 numbers of queries on (faiss.cvar.distance_compute_blas_threshold)
# distances are computed as |x|^2 - 2 xy + |y|^2 in float32, which loses what little tells rows apart
# that are far from zero.
# Expected: of an index that is called exact, an answer that does not depend on how many ask.
# Exits 0 while it is so, 1 if it has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet faiss-cpu==1.15.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import faiss
import numpy as np

rng = np.random.default_rng(0)
rows = (1000 + rng.standard_normal((8000, 64))).astype(np.float32)
index = faiss.IndexFlatL2(64)
index.add(rows)
found = {}
for asked in (1999, 2000):
    distances, nearest = index.search(rows[:asked], 1)
    itself = (nearest[:, 0] == np.arange(asked))[:1999]
    found[asked] = itself
    print(f"{asked} queries at once: {itself.sum()} of the first 1999 find themselves, "
          f"the farthest nearest row is at {distances.max():g}")
sys.exit(0 if found[1999].all() and not found[2000].all() else 1)
PYTHON
