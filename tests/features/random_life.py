"""A collection's life by chance, beside the model of one."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from proofs.model.comparison import difference
from proofs.model.oracle import Oracle, require_sound
from proofs.model.writes import Pool, draw, perform, take
from vecdb import VecDB


def live(db: VecDB, oracle: Oracle, pool: Pool, weights: Mapping[str, int], rng: Random) -> None:
    """Do 150 writes to the collection ``c``, with optimizer steps, closes and recoveries in
    between. After each it is what the model says, and at the end all reads are; it is closed."""
    path = db.path
    for _ in range(150):
        write = draw(rng, oracle, pool, weights)
        perform(db.collection("c"), write)
        take(oracle, write)
        chance = rng.random()
        if chance < 0.1:
            db.optimizer.run_once()
        elif chance < 0.14:
            if rng.random() < 0.5:
                db.collection("c")._store.fail("so that closing writes nothing")
            db.close()
            require_sound(path)
            db = VecDB(path, sync="never")
        assert oracle.difference(db.collection("c")) is None, write
    assert difference(db.collection("c"), oracle, pool, rng) is None
    db.close()
    require_sound(path)
