#!/usr/bin/env bash
# qdrant-client 1.20.0: what query_points() returns is no qdrant_client.models.QueryResponse.
#
# Seen: of the classes that qdrant_client.models has in common with qdrant_client.http.models, one is
# another class: QueryResponse is that of the FastEmbed helpers (qdrant_client.fastembed_common), with
# the fields of one hit. query_points() says in its annotation, and returns, the one of http.models.
# So isinstance(response, models.QueryResponse) is False, and a program that annotates with
# models.QueryResponse, as it does with models.ScoredPoint, names a class without `points`.
# Expected: one class of that name in models, the one that the client's methods return.
# Exits 0 while it is so, 1 if it has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet qdrant-client==1.20.0
"$work/venv/bin/python" - <<'PYTHON'
import sys

from qdrant_client import QdrantClient, models
from qdrant_client.http import models as served

client = QdrantClient(":memory:")
client.create_collection(
    "c", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT)
)
client.upsert("c", [models.PointStruct(id=1, vector=[1.0, 1.0])])
response = client.query_points("c", query=[1.0, 1.0])
others = [
    name
    for name in dir(models)
    if name[0].isupper() and getattr(served, name, None) not in (None, getattr(models, name))
]
print(f"query_points returned {type(response).__module__}.{type(response).__name__}")
print(f"models.QueryResponse is {models.QueryResponse.__module__}.QueryResponse, "
      f"with {sorted(models.QueryResponse.model_fields)}")
print(f"names that are another class in models than in http.models: {others}")
same = isinstance(response, models.QueryResponse)
sys.exit(0 if others == ["QueryResponse"] and not same else 1)
PYTHON
