"""Move one collection through the three storage modes and show where its bytes are in each.

Run it with ``python examples/storage_modes.py``. Nothing is rewritten between the modes.
"""

import tempfile
from pathlib import Path

import numpy as np

import vecdb
from vecdb import models

ROWS, DIM = 20_000, 128

# Name -> memmap_threshold in KB of vectors (0: never), always_ram of the codes.
MODES = {
    "all in RAM": (0, True),
    "originals on disk, codes in RAM": (1000, True),
    "all on disk": (1000, False),
}


def main() -> None:
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((ROWS, DIM)).astype(np.float32)

    with tempfile.TemporaryDirectory() as directory, vecdb.VecDB(Path(directory) / "db") as db:
        db.create_collection(
            "points",
            models.VectorParams(size=DIM, distance=models.Distance.EUCLID),
            quantization_config={"scalar": {"type": "int8"}},
            optimizers_config={"indexing_threshold": 1000},
        )
        points = db.collection("points")
        points.upsert(models.Batch(ids=np.arange(ROWS), vectors=vectors))
        points.flush()
        points.wait_for_optimizer()

        for mode, (threshold, always_ram) in MODES.items():
            db.update_collection(
                "points",
                optimizers_config={"memmap_threshold": threshold},
                quantization_config={"scalar": {"type": "int8", "always_ram": always_ram}},
            )
            points.wait_for_optimizer()
            nearest = points.search(vectors[42], limit=3)
            parts = points.memory_report()["parts"]
            print(f"{mode}: nearest to point 42 are {[hit.id for hit in nearest]}")
            for part in ("originals", "codes"):
                in_ram, mapped = parts[part]["anonymous"] / 1e6, parts[part]["mapped"] / 1e6
                print(f"  {part:<10} {in_ram:6.2f} MB in RAM {mapped:6.2f} MB mapped")


if __name__ == "__main__":
    main()
