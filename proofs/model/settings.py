"""Random settings of a collection: codes, placements and the optimizer's thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from proofs.model.multi import params_of
from proofs.model.sparse import MODIFIERS
from vecdb import VecDB, models

Settings = dict[str, Any]
"""Arguments of ``update_collection``."""

CODES: list[Any] = [
    "Disabled",
    {"scalar": {"type": "int8"}},
    {"scalar": {"type": "int8", "quantile": 0.9}},
    {"binary": {}},
    {"binary": {"encoding": "two_bits"}},
    {"turbo": {}},
    {"product": {"compression": "x16"}},
]
MEMORY = ("pinned", "cached", "cold")
OPTIMIZER: dict[str, tuple[Any, ...]] = {
    "max_optimization_threads": (0, 1, 1, 1),
    "indexing_threshold": (0, 1, 1, 8),
    "memmap_threshold": (0, 1, 1, 8),
    "default_segment_number": (1, 1, 2, 4),
    "vacuum_min_vector_number": (1, 8, 1000),
    "deleted_threshold": (0.1, 0.2, 0.5),
}


def draw_settings(rng: Random, vectors: Mapping[str, tuple[int, str]]) -> Settings:
    """Any codes, anywhere, with an optimizer that has much to do."""
    codes = rng.choice(CODES)
    if codes != "Disabled":
        kind, options = next(iter(codes.items()))
        said: dict[str, Any] = {"always_ram": rng.random() < 0.5}
        if rng.random() < 0.5:
            said["memory"] = rng.choice(MEMORY)
        codes = {kind: {**options, **said}}
    return {
        "metadata": {"of": rng.randrange(8)},
        "optimizers_config": {name: rng.choice(values) for name, values in OPTIMIZER.items()},
        "quantization_config": codes,
        "vectors_config": {
            name: {"on_disk": rng.random() < 0.5, "memory": rng.choice(MEMORY)}
            for name, (_, distance) in vectors.items()
            if distance not in MODIFIERS
        },
        **placed(*(rng.choice(MEMORY) for _ in range(3))),
    }


def placed(index: str, payload: str, ids: str) -> Settings:
    """Where the parts are that are of no vector name and have no codes."""
    storage = {"payload": {"memory": payload}, "id_tracker": {"memory": ids}}
    return {"hnsw_config": {"memory": index}, "collection_params": storage}


def settings_of(config: models.CollectionConfig) -> Settings:
    """The settings that a collection has, in the form in which they are drawn."""
    found = models.to_builtins(config)
    vectors = found["params"]["vectors"]
    named = {"": vectors} if "size" in vectors else vectors
    codes: Any = found.get("quantization_config") or "Disabled"
    if codes != "Disabled":
        codes = {k: {o: v for o, v in c.items() if v is not None} for k, c in codes.items()}
    return {
        "metadata": found.get("metadata"),
        "optimizers_config": {name: found["optimizer_config"][name] for name in OPTIMIZER},
        "quantization_config": codes,
        "vectors_config": {
            name: {"on_disk": v["on_disk"], "memory": v["memory"]}
            for name, v in named.items()
            if "on_disk" in v
        },
        "hnsw_config": {"memory": found["hnsw_config"].get("memory")},
        "collection_params": {
            part: found["params"].get(part) for part in ("payload", "id_tracker")
        },
    }


def create(
    db: VecDB,
    name: str,
    vectors: Mapping[str, tuple[int, str]],
    settings: Settings,
    *,
    again: bool = False,
) -> None:
    """A new collection that has the settings from the start; ``again``: in place of an old one."""
    named = {
        name: {**params_of(dim, distance), **settings["vectors_config"][name]}
        for name, (dim, distance) in vectors.items()
        if distance not in MODIFIERS
    }
    sparse = {
        name: {"modifier": MODIFIERS[distance]}
        for name, (_, distance) in vectors.items()
        if distance in MODIFIERS
    }
    codes = settings["quantization_config"]
    (db.recreate_collection if again else db.create_collection)(
        name,
        named.get("", named),
        sparse_vectors_config=sparse or None,
        quantization_config=None if codes == "Disabled" else codes,
        optimizers_config=settings["optimizers_config"],
        hnsw_config=settings["hnsw_config"],
        **settings["collection_params"],
        metadata=settings["metadata"],
    )
