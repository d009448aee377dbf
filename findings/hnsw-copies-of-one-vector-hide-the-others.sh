#!/usr/bin/env bash
# faiss-cpu 1.15.1 (IndexHNSWFlat) and usearch 2.26.6: copies of one vector hide the vectors added after it.
#
# Seen: of 1,000 random vectors of 16 dimensions all are found when asked for themselves. When 1,000
# copies of the zero vector (empty texts, say) were added before them, some 20 % are, although efSearch
# (expansion_search) is 2,000, as many as there are vectors. The copies' links lead to one another, so
# the search finds no way out of them, neither when it builds the graph nor when it answers.
# Expected: a search that may look at every vector finds one that is there; what other vectors are
# equal to each other is no matter of this one.
# Needs Python 3.11, as usearch does. Exits 0 while it is so of both, 1 if it has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet faiss-cpu==1.15.1 usearch==2.26.6 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import faiss
import numpy as np
from usearch.index import Index

COUNT, DIM, LOOK_AT = 1000, 16, 2000
faiss.omp_set_num_threads(1)
vectors = np.random.default_rng(0).standard_normal((COUNT, DIM)).astype(np.float32)


def by_faiss(rows):
    index = faiss.IndexHNSWFlat(DIM, 32)
    index.add(rows)
    index.hnsw.efSearch = LOOK_AT
    return index.search(vectors, 1)[1][:, 0]


def by_usearch(rows):
    index = Index(ndim=DIM, metric="l2sq", dtype="f32", expansion_search=LOOK_AT)
    index.add(np.arange(len(rows)), rows, threads=1)
    return np.array(index.search(vectors, 1, threads=1).keys)[:, 0].astype(np.int64)


found = {}
for search in (by_faiss, by_usearch):
    for copies in (0, COUNT):
        rows = np.concatenate([np.zeros((copies, DIM), np.float32), vectors])
        share = np.mean(search(rows) == np.arange(copies, copies + COUNT))
        found[search, copies] = share
        print(f"{search.__name__}, {copies} copies first: {share:.1%} of the others find themselves")
so = all(found[s, 0] > 0.99 and found[s, COUNT] < 0.6 for s in (by_faiss, by_usearch))
sys.exit(0 if so else 1)
PYTHON
