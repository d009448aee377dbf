"""What the soak does, and what must be there afterwards: collections of every kind, side by side.

For the number of each operation it has the operation, drawn from the seed and the state so far.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from proofs.model.oracle import Oracle, PointId
from proofs.model.settings import Settings, draw_settings, placed
from proofs.model.sparse import MODIFIERS, PLACES
from proofs.model.writes import INDEXES, UPLOADS, VECTOR_NAMES, WEIGHTS, Pool, Write, draw, take

IDS = 1000
SCRATCH = "scratch"
"""A collection that comes and goes."""
SNAPSHOTS = 2
"""Of each collection, and of the database."""

KINDS: dict[str, Any] = {
    "none": "Disabled",
    "scalar": {"scalar": {"type": "int8"}},
    "binary": {"binary": {}},
    "product": {"product": {"compression": "x8"}},
}
# Where the originals are and where the codes: on_disk, memmap_threshold, always_ram.
PLACEMENTS = {
    "ram": (False, 0, True, "pinned"),
    "codes-in-ram": (True, 16, True, "cold"),
    "disk": (True, 16, False, "cached"),
}
SCHEMAS: list[dict[str, tuple[int, str]]] = [
    {"": (32, "Cosine")},
    {"a": (32, "Euclid"), "b": (7, "Manhattan")},
    {"": (32, "Manhattan")},
    {"a": (32, "Dot"), "b": (16, "Cosine")},
    {"": (32, "Euclid")},
    {"a": (32, "Cosine"), "words": (PLACES, "Idf"), "s": (PLACES, "Sparse")},
    {"a": (32, "float16 Dot"), "b": (16, "uint8 Euclid"), "c": (5, "float16 Manhattan")},
    {"a": (32, "Dot"), "m": (8, "Many Cosine"), "n": (5, "Many Euclid")},
]

# How often each verb of the API is drawn.
WRITES = {
    verb: 20 * weight for verb, weight in {**WEIGHTS, **UPLOADS, **INDEXES, **VECTOR_NAMES}.items()
}
READS = {
    "retrieve": 60,
    "scroll": 20,
    "count": 30,
    "search": 60,
    "search_arrays": 5,
    "search_batch": 8,
    "query_points": 30,
    "query_batch_points": 8,
    "query_points_groups": 10,
    "search_groups": 5,
    "recommend": 5,
    "recommend_batch": 3,
    "recommend_groups": 3,
    "discover": 5,
    "discover_batch": 3,
    "facet": 10,
    "search_matrix_pairs": 3,
    "search_matrix_offsets": 2,
    "within": 3,
    "get_collection": 5,
    "get_collections": 5,
    "collection_exists": 5,
    "memory_report": 1,
}
UPKEEP = {
    "flush": 8,
    "run_once": 10,
    "wait_for_optimizer": 2,
    "update_collection": 5,
    "create_collection": 1,
    "recreate_collection": 1,
    "check": 1,
    "compare": 1,
    "create_snapshot": 2,
    "create_full_snapshot": 1,
    "list_snapshots": 1,
    "list_full_snapshots": 1,
    "recover_snapshot": 2,
    "taken": 1,
}
"""``compare`` reads all of a collection in every way, ``taken`` puts another database in its place
for a while. Of what there is enough already, ``create``
becomes ``delete``."""


@dataclass(frozen=True)
class Step:
    """One operation."""

    number: int
    verb: str
    name: str
    """Of the collection."""
    write: Write | None = None
    vectors: dict[str, tuple[int, str]] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    position: int = 0
    """Of a snapshot in the list of them: those of the collection, then those of the database."""


@dataclass
class Kept:
    """A collection as it must be."""

    vectors: dict[str, tuple[int, str]]
    settings: Settings
    home: Settings
    """The settings it comes back to, so that all kinds are there at once."""
    pool: Pool
    oracle: Oracle

    def copy(self) -> Kept:
        """A snapshot."""
        return replace(self, oracle=self.oracle.copy())


class World:
    """The database as it must be. Follows from the seed and the steps that were taken."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._weights = {**WRITES, **READS, **UPKEEP}
        self.kept: dict[str, Kept] = {}
        self.snapshots: dict[str, list[Kept]] = {}
        self.full_snapshots: list[dict[str, Kept]] = []
        kinds = [(codes, placement) for codes in KINDS for placement in PLACEMENTS]
        kinds.remove(("none", "codes-in-ram"))
        for number, (codes, placement) in enumerate(kinds):
            vectors = SCHEMAS[number % len(SCHEMAS)]
            self._add(f"{codes}-{placement}", vectors, _home(vectors, codes, placement))

    def _add(self, name: str, vectors: dict[str, tuple[int, str]], settings: Settings) -> None:
        pool = Pool(f"{self.seed}/{name}", vectors, IDS)
        self.kept[name] = Kept(vectors, settings, settings, pool, Oracle(vectors))

    def draw(self, number: int) -> Step:
        """The step of this number, in the state as it is."""
        rng = Random(f"{self.seed}/{number}")
        verb = rng.choices(list(self._weights), list(self._weights.values()))[0]
        name = rng.choice(list(self.kept))
        kept = self.kept[name]
        if verb in WRITES:
            write = draw(rng, kept.oracle, kept.pool, {verb: 1})
            return Step(number, write.verb, name, write)
        if verb in ("create_collection", "recreate_collection"):
            if verb == "create_collection" and SCRATCH in self.kept:
                return Step(number, "delete_collection", SCRATCH)
            vectors = rng.choice([*SCHEMAS, {}])
            return Step(number, verb, SCRATCH, None, vectors, draw_settings(rng, vectors))
        if verb == "update_collection":
            settings = kept.home if rng.random() < 0.5 else draw_settings(rng, kept.vectors)
            return Step(number, verb, name, settings=settings)
        if verb == "recover_snapshot":
            name = rng.choice([*self.kept, SCRATCH])  # also when it is gone
            sources = self.sources(name)
            if sources:
                return Step(number, verb, name, position=rng.randrange(len(sources)))
            verb, name = "create_snapshot", next(iter(self.kept))
        if verb == "create_snapshot" and len(self.snapshots.get(name, [])) == SNAPSHOTS:
            verb = "delete_snapshot"
        if verb == "create_full_snapshot" and len(self.full_snapshots) == SNAPSHOTS:
            verb = "delete_full_snapshot"
        return Step(number, verb, name, position=rng.randrange(SNAPSHOTS))

    def sources(self, name: str) -> list[Kept]:
        """What the snapshots hold of a collection: its own, then those of the whole database."""
        full = [snapshot[name] for snapshot in self.full_snapshots if name in snapshot]
        return [*self.snapshots.get(name, []), *full]

    def take(self, step: Step) -> list[PointId]:
        """A step on the model; the points it was about."""
        if step.write is not None:
            return take(self.kept[step.name].oracle, step.write)
        if step.verb in ("create_collection", "recreate_collection"):
            self._add(step.name, step.vectors, step.settings)
        elif step.verb == "delete_collection":
            del self.kept[step.name]
        elif step.verb == "update_collection":
            self.kept[step.name].settings = step.settings
        else:
            self._snapshot(step)
        return []

    def _snapshot(self, step: Step) -> None:
        match step.verb:
            case "create_snapshot":
                taken = self.snapshots.setdefault(step.name, [])
                taken.append(self.kept[step.name].copy())
            case "create_full_snapshot":
                self.full_snapshots.append({name: k.copy() for name, k in self.kept.items()})
            case "delete_snapshot":
                del self.snapshots[step.name][step.position]
            case "delete_full_snapshot":
                del self.full_snapshots[step.position]
            case "recover_snapshot":
                self.kept[step.name] = self.sources(step.name)[step.position].copy()

    def follow(self, numbers: Iterable[int]) -> None:
        """Take the steps of these numbers."""
        for number in numbers:
            self.take(self.draw(number))


def _home(vectors: dict[str, tuple[int, str]], codes: str, placement: str) -> Settings:
    on_disk, memmap_threshold, always_ram, memory = PLACEMENTS[placement]
    config = KINDS[codes]
    if config != "Disabled":
        kind, options = next(iter(config.items()))
        config = {kind: {**options, "always_ram": always_ram}}
    return {
        "metadata": {"of": codes},
        "optimizers_config": {
            "max_optimization_threads": 1,
            "indexing_threshold": 8,
            "memmap_threshold": memmap_threshold,
            "default_segment_number": 2,
            "vacuum_min_vector_number": 50,
            "deleted_threshold": 0.2,
        },
        "quantization_config": config,
        "vectors_config": {
            name: {"on_disk": on_disk, "memory": memory}
            for name, (_, distance) in vectors.items()
            if distance not in MODIFIERS
        },
        **placed("pinned" if always_ram else "cold", memory, memory),
    }
