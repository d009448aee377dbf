#!/usr/bin/env bash
# qdrant-client 1.20.0, local mode: a relevance feedback query by a sparse vector raises a TypeError
# of numpy.
#
# Seen: recommend, discover and context take examples that are sparse vectors; a
# RelevanceFeedbackQuery with a sparse target on the same collection ends in "ufunc 'isnan' not
# supported for the input types", from within the library.
# Expected: the points in the order of the formula, as for dense vectors; or an error that says that
# local mode has no feedback on sparse vectors.
# Exits 0 while it is so, 1 if it has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet qdrant-client==1.20.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

from qdrant_client import QdrantClient, models


def sparse(index: int) -> models.SparseVector:
    return models.SparseVector(indices=[1, index], values=[1.0, 0.5])


client = QdrantClient(":memory:")
client.create_collection("c", {}, sparse_vectors_config={"s": models.SparseVectorParams()})
client.upsert("c", [models.PointStruct(id=n, vector={"s": sparse(n + 2)}) for n in range(4)])
recommend = models.RecommendQuery(recommend=models.RecommendInput(positive=[sparse(2)]))
print("recommend:", [point.id for point in client.query_points("c", recommend, using="s").points])
feedback = models.RelevanceFeedbackQuery(
    relevance_feedback=models.RelevanceFeedbackInput(
        target=sparse(2),
        feedback=[
            models.FeedbackItem(example=0, score=0.9),
            models.FeedbackItem(example=1, score=0.1),
        ],
        strategy=models.NaiveFeedbackStrategy(
            naive=models.NaiveFeedbackStrategyParams(a=1.0, b=1.0, c=1.0)
        ),
    )
)
try:
    found = client.query_points("c", feedback, using="s").points
except TypeError as error:
    print("feedback: TypeError:", error)
    sys.exit(0 if "isnan" in str(error) else 1)
print("feedback:", [point.id for point in found])
sys.exit(1)
PYTHON
