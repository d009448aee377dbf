"""Compare the three quantization methods: bytes of codes, and answers shared with an exact search.

Run it with ``python examples/quantized_search.py``.
"""

from pathlib import Path
from typing import Any

import numpy as np

import vecdb
from vecdb import models

DATA = Path(__file__).parent / "data" / "debian-packages"

METHODS: dict[str, dict[str, Any]] = {
    "scalar": {"scalar": {"type": "int8"}},
    "product x16": {"product": {"compression": "x16"}},
    "binary": {"binary": {}},
}
EXACT = models.SearchParams(exact=True)
CODES_ONLY = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=False))


def main() -> None:
    vectors = np.load(DATA / "vectors.npy").astype(np.float32)
    queries = np.load(DATA / "queries.npy").astype(np.float32)[:50]
    dim = vectors.shape[1]

    with vecdb.VecDB(":memory:") as db:
        db.create_collection(
            "packages",
            models.VectorParams(size=dim, distance=models.Distance.COSINE),
            # By default a segment is quantized from 10 000 KB of vectors on. This set is smaller.
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1000),
        )
        db.upload_collection("packages", vectors, ids=np.arange(len(vectors)))
        packages = db.collection("packages")

        def top(query: Any, params: models.SearchParams | None = None) -> set[Any]:
            return {hit.id for hit in packages.search(query, search_params=params)}

        exact = [top(query, EXACT) for query in queries]
        print(f"{len(packages)} vectors of {dim} dimensions, {4 * dim} bytes each;")
        print(f"the share of the 10 nearest that {len(queries)} searches find\n")
        print(f"{'method':<14}{'bytes a vector':>16}{'rescored':>12}{'codes only':>12}")
        for method, config in METHODS.items():
            db.update_collection("packages", quantization_config=config)
            packages.wait_for_optimizer()
            size = packages.memory_report()["parts"]["codes"]["file"] / len(packages)
            shares = []
            for params in (None, CODES_ONLY):
                found = [len(top(q, params) & exact[i]) for i, q in enumerate(queries)]
                shares.append(sum(found) / (10 * len(queries)))
            print(f"{method:<14}{size:>16.0f}{shares[0]:>12.3f}{shares[1]:>12.3f}")


if __name__ == "__main__":
    main()
