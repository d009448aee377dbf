"""vecdb against a dict: any sequence of operations, restarts and crashes leaves the same points.

A failure prints the steps that led to it, as small as Hypothesis could make them; paste them into
a test to replay. ``VECDB_TEST_SCALE=10`` runs ten times as many, other ones in every run.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
import uuid
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from proofs.model.oracle import SCALE, Oracle, require_sound
from vecdb import VecDB, models

NAME = "points"
BOUND = 4.0  # of every component, so that the error of scalar codes has one too

NUMBERS = [*range(40), 2**63, 2**64 - 1]
UUIDS = [str(uuid.UUID(int=(7919 * i) << (12 * i))) for i in range(8)]
IDS = [*NUMBERS, *UUIDS]

SCALAR = {"scalar": {"type": "int8"}}
CLIPPED = {"scalar": {"type": "int8", "quantile": 0.9, "always_ram": True}}
BINARY = {"binary": {"always_ram": False}}
PRODUCT = {"product": {"compression": "x8"}}

# What to begin with: vectors by name, quantization. ``""``: the one unnamed vector. With 64
# dimensions four rows are one kilobyte, and the optimizer has something to do.
CONFIGURATIONS: dict[str, tuple[dict[str, tuple[int, str]], Any]] = {
    "none": ({"a": (64, "Cosine"), "b": (3, "Manhattan")}, None),
    "scalar": ({"a": (64, "Dot"), "b": (8, "Euclid")}, SCALAR),
    "scalar-unnamed": ({"": (64, "Manhattan")}, SCALAR),
    "quantile": ({"a": (64, "Euclid"), "b": (5, "Cosine")}, CLIPPED),
    "binary": ({"a": (64, "Cosine"), "b": (9, "Manhattan")}, BINARY),
    "product": ({"a": (64, "Euclid"), "b": (8, "Dot")}, PRODUCT),
    "product-unnamed": ({"": (68, "Cosine")}, PRODUCT),
}

FILTERS: list[dict[str, Any]] = [
    {"must": [{"key": "n", "range": {"gte": 0, "lt": 2}}]},
    {"must_not": [{"key": "a", "match": {"value": "x"}}]},
    {
        "should": [
            {"key": "tags", "match": {"any": ["x", "y"]}},
            {"key": "n", "match": {"value": 1}},
        ]
    },
    {"must": [{"has_id": [1, 5, UUIDS[2], 39, 2**64 - 1, 77]}]},
    {"must_not": [{"is_empty": {"key": "n"}}, {"has_id": IDS[::3]}]},
]

leaves = st.sampled_from([0, 1, -7, 1.0, 0.5, True, False, None, "x", "y", "ä\0", 2**62])
values = leaves | st.lists(leaves, max_size=3)
payloads = st.dictionaries(
    st.sampled_from(["n", "a", "tags", "deep"]),
    values | st.dictionaries(st.sampled_from(["x", "y"]), values, max_size=2),
    max_size=3,
)
ids_ = st.sampled_from(IDS)
few = st.lists(ids_, min_size=1, max_size=8)
many = st.builds(  # of all sizes alike, some ids twice
    lambda start, size, stride: [IDS[(start + n * stride) % len(IDS)] for n in range(size)],
    st.integers(0, len(IDS) - 1),
    st.integers(1, 40),
    st.sampled_from([1, 7, 25]),
)
seeds = st.integers(0, 2**32 - 1)
filters = st.sampled_from(FILTERS)


class Machine(RuleBasedStateMachine):
    """Does each operation to a collection and to an oracle, and compares them after every one."""

    vectors: dict[str, tuple[int, str]]
    quantization: Any

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="vecdb-model-"))
        self.path = self.root / "0"
        self.db = VecDB(self.path)
        self.oracle = Oracle(self.vectors)
        self.steps = 0
        # What the newest WAL file holds at each length: a cut there must come back to that.
        self.wal: Path | None = None
        self.history: list[tuple[int, Oracle]] = []

    @initialize(mapped=st.booleans(), sync=st.sampled_from(["always", "never"]))
    def create(self, mapped: bool, sync: Any) -> None:
        self.sync = sync
        self.db.close()
        self.db = VecDB(self.path, sync=sync)
        params = {n: {"size": dim, "distance": d} for n, (dim, d) in self.vectors.items()}
        self.db.create_collection(
            NAME,
            params.get("", params),
            quantization_config=self.quantization,
            optimizers_config={
                "max_optimization_threads": 0,  # steps are taken by a rule
                "indexing_threshold": 1,
                "memmap_threshold": 1 if mapped else 0,
                "default_segment_number": 1,
                "vacuum_min_vector_number": 4,
            },
        )
        self._note()

    @property
    def collection(self) -> Any:
        return self.db.collection(NAME)

    def teardown(self) -> None:
        try:
            self.db.close()
            require_sound(self.path)
        finally:
            shutil.rmtree(self.root)

    # -- data ------------------------------------------------------------------------------

    def _vector(self, seed: int, name: str) -> np.ndarray:
        rng = np.random.default_rng(seed)
        dim = self.vectors[name][0]
        if seed % 16 == 0:
            return np.zeros(dim, dtype=np.float32)
        if seed % 4 == 0:  # often the same one
            rng = np.random.default_rng(seed % 32)
        return rng.standard_normal(dim).clip(-BOUND, BOUND).astype(np.float32)

    def _given(self, seed: int) -> dict[str, np.ndarray]:
        """Vectors by name; now and then one is missing."""
        names = [n for i, n in enumerate(self.vectors) if seed % 7 != i]
        return {name: self._vector(seed + i, name) for i, name in enumerate(names)}

    def _existing(self, ids: list[Any]) -> list[Any]:
        """Points that are there, instead of any: operations on others are refused."""
        known = self.oracle.ids()
        return [i if i in self.oracle.points else known[IDS.index(i) % len(known)] for i in ids]

    # -- writing ---------------------------------------------------------------------------

    @rule(ids=many, seed=seeds, payload=payloads)
    def upsert_points(self, ids: list[Any], seed: int, payload: Any) -> None:
        rows = [
            (i, None if (seed + n) % 5 == 0 else {**payload, "n": n}, self._given(seed + 3 * n))
            for n, i in enumerate(ids)
        ]
        points = [
            models.PointStruct(
                id=uuid.UUID(i) if isinstance(i, str) and n % 2 else i,
                vector=given.get("", given) if "" in self.vectors else given,
                payload=row,
            )
            for n, (i, row, given) in enumerate(rows)
        ]
        self.collection.upsert(points)
        self.oracle.upsert(rows)
        self._note()

    @rule(
        ids=many,
        seed=seeds,
        payload=payloads | st.none(),
        holes=st.booleans(),
    )
    def upsert_batch(self, ids: list[Any], seed: int, payload: Any, holes: bool) -> None:
        columns: dict[str, Any] = {
            name: np.stack([self._vector(seed + n, name) for n in range(len(ids))])
            for name in self.vectors
        }
        if holes:  # a None where a row has no such vector; and perhaps a name not given at all
            name = list(columns)[seed % len(columns)]
            columns[name] = [None if (n + seed) % 3 else row for n, row in enumerate(columns[name])]
            if len(columns) > 1 and seed % 5 == 0:
                del columns[name]
        payloads = None if payload is None else [{**payload, "n": n % 4} for n in range(len(ids))]
        batch = {"ids": ids, "vectors": columns.get("", columns), "payloads": payloads}
        self.collection.upsert(models.Batch(**batch) if seed % 2 else batch)
        self.oracle.upsert(
            (
                i,
                None if payloads is None else payloads[n],
                {name: rows[n] for name, rows in columns.items() if rows[n] is not None},
            )
            for n, i in enumerate(ids)
        )
        self._note()

    @rule(ids=few)
    def delete(self, ids: list[Any]) -> None:
        self.collection.delete(ids)
        self.oracle.delete(ids)
        self._note()

    @rule(filter=filters)
    def delete_matching(self, filter: Any) -> None:
        self.collection.delete({"filter": filter})
        self.oracle.delete(self.oracle.matching(filter))
        self._note()

    def _select(self, ids: list[Any], filter: Any) -> tuple[Any, list[Any]]:
        """A selector and the ids it means: a filter if there is one."""
        if filter is not None:
            return models.FilterSelector(filter=models.coerce(models.Filter, filter)), (
                self.oracle.matching(filter)
            )
        known = self._existing(ids)
        return known, list(dict.fromkeys(known))

    @precondition(lambda self: self.oracle.points)
    @rule(
        ids=few,
        filter=filters | st.none(),
        payload=payloads,
        key=st.sampled_from([None, "deep", "deep.x", "n"]),
        mode=st.sampled_from(["set", "overwrite"]),
    )
    def put_payload(self, ids: Any, filter: Any, payload: Any, key: Any, mode: str) -> None:
        selector, chosen = self._select(ids, filter)
        if mode == "set":
            self.collection.set_payload(payload, selector, key)
            self.oracle.set_payload(chosen, payload, key)
        else:
            self.collection.overwrite_payload(payload, selector)
            self.oracle.overwrite_payload(chosen, payload)
        self._note()

    @precondition(lambda self: self.oracle.points)
    @rule(
        ids=few,
        filter=filters | st.none(),
        keys=st.lists(st.sampled_from(["n", "a", "deep.x", "zzz"]), max_size=3),
    )
    def cut_payload(self, ids: Any, filter: Any, keys: list[str]) -> None:
        """Without keys: all of it."""
        selector, chosen = self._select(ids, filter)
        if keys:
            self.collection.delete_payload(keys, selector)
            self.oracle.delete_payload(chosen, keys)
        else:
            self.collection.clear_payload(selector)
            self.oracle.clear_payload(chosen)
        self._note()

    @precondition(lambda self: self.oracle.points)
    @rule(ids=st.lists(ids_, min_size=1, max_size=8, unique=True), seed=seeds)
    def update_vectors(self, ids: list[Any], seed: int) -> None:
        chosen = list(dict.fromkeys(self._existing(ids)))
        rows = [(i, self._given(seed + 3 * n)) for n, i in enumerate(chosen)]
        rows = [(i, given) for i, given in rows if given]
        if not rows:
            return
        self.collection.update_vectors(
            [{"id": i, "vector": given.get("", given)} for i, given in rows]
        )
        self.oracle.update_vectors(rows)
        self._note()

    @precondition(lambda self: self.oracle.points)
    @rule(ids=few, filter=filters | st.none(), which=st.integers(0, 1))
    def delete_vectors(self, ids: Any, filter: Any, which: int) -> None:
        name = list(self.vectors)[which % len(self.vectors)]
        selector, chosen = self._select(ids, filter)
        self.collection.delete_vectors([name], selector)
        self.oracle.delete_vectors(chosen, [name])
        self._note()

    # -- upkeep ----------------------------------------------------------------------------

    @rule()
    def flush(self) -> None:
        self.db.flush()
        self._note()

    @rule(flush=st.booleans(), steps=st.integers(1, 4))
    def optimize(self, flush: bool, steps: int) -> None:
        if flush:
            self.db.flush()
        for _ in range(steps):
            self.db.optimizer.run_once()
            self.agrees()
        self._note()

    @rule()
    def optimize_all(self) -> None:
        """The optimizer's work has an end, and nothing is left of segments it replaced."""
        assert self.db.wait_for_optimizer()
        info = self.collection.info()
        assert info.status == models.CollectionStatus.GREEN
        files = [s for s in info.segments if s.kind == "file"]
        assert len(files) <= 2
        directories = {p.name for p in self._directory().joinpath("segments").iterdir()}
        assert directories == {s.id for s in files}
        self._note()

    @rule(config=st.sampled_from([SCALAR, CLIPPED, BINARY, PRODUCT, "Disabled"]))
    def change_codes(self, config: Any) -> None:
        self.db.update_collection(NAME, quantization_config=config)
        self.quantization = None if config == "Disabled" else config
        self._note()

    @rule(memmap=st.integers(0, 1), always_ram=st.booleans(), on_disk=st.none() | st.booleans())
    def change_placements(self, memmap: int, always_ram: bool, on_disk: bool | None) -> None:
        config = copy.deepcopy(self.quantization)
        if config is not None:
            next(iter(config.values()))["always_ram"] = always_ram
        name = next(iter(self.vectors))
        self.db.update_collection(
            NAME,
            optimizers_config={"memmap_threshold": memmap},
            quantization_config=config,
            vectors_config=None if on_disk is None else {name: {"on_disk": on_disk}},
        )
        self._note()

    @precondition(lambda self: len(self.oracle.points) > 8)
    @rule(
        config=st.sampled_from([SCALAR, BINARY, PRODUCT]),
        ids=st.lists(ids_, min_size=3, max_size=6),
        payload=payloads,
        steps=st.integers(1, 2),
        follow=st.booleans(),
    )
    def build_between(
        self, config: Any, ids: list[Any], payload: Any, steps: int, follow: bool
    ) -> None:
        """A build of rows of which some died since the last checkpoint, then a crash: the WAL
        has edits of rows that must still be in the new segment."""
        self.db.flush()
        self._note()
        self.change_codes(config)
        edited, updated, *deleted = dict.fromkeys([*self._existing(ids), *self.oracle.ids()[:3]])
        self.collection.set_payload(payload, [edited])
        self.oracle.set_payload([edited], payload)
        self._note()
        self.collection.delete_vectors([next(iter(self.vectors))], [updated])
        self.oracle.delete_vectors([updated], [next(iter(self.vectors))])
        self._note()
        if deleted:
            self.collection.delete(deleted)
            self.oracle.delete(deleted)
        for _ in range(steps):
            self.db.optimizer.run_once()
        self._note()
        self.agrees()
        self.kill(follow)

    @rule()
    def reopen(self) -> None:
        self.db.close()
        require_sound(self.path)
        self.db = VecDB(self.path, sync=self.sync)
        assert self.collection.recovery.replayed == 0
        self._note()

    # -- crashes ---------------------------------------------------------------------------

    @rule(follow=st.booleans())
    def kill(self, follow: bool) -> None:
        """The files as they are now are what a killed process would leave."""
        self._open_copy(self._copy(), self.oracle, follow)

    @rule(cut=st.integers(0, 2**16), follow=st.booleans())
    def kill_in_write(self, cut: int, follow: bool) -> None:
        """The WAL ends anywhere: what comes back is what whole operations before that made."""
        assert self.wal is not None
        copy = self._copy()
        wal = copy / self.wal.relative_to(self.path)
        length = self.history[0][0] + cut % (wal.stat().st_size - self.history[0][0] + 1)
        with open(wal, "r+b") as file:
            file.truncate(length)
        then = [oracle for size, oracle in self.history if size <= length][-1]
        self._open_copy(copy, then, follow)

    def _copy(self) -> Path:
        copy = self.root / str(int(self.path.name) + 1)
        shutil.copytree(self.path, copy)
        return copy

    def _open_copy(self, path: Path, expected: Oracle, follow: bool) -> None:
        db = VecDB(path, sync=self.sync)
        problem = expected.difference(db.collection(NAME))
        if not follow or problem:
            db.close()
            shutil.rmtree(path)
            assert problem is None, f"after a crash: {problem}"
            return
        self.db.close()
        shutil.rmtree(self.path)
        self.db, self.path, self.oracle = db, path, expected.copy()
        self._note()

    def _directory(self) -> Path:
        return self.path / "collections" / NAME

    def _note(self) -> None:
        newest = max((self._directory() / "wal").glob("*.wal"))
        if newest != self.wal:
            self.wal, self.history = newest, []
        self.history.append((newest.stat().st_size, self.oracle.copy()))

    # -- comparing -------------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        if not self.history:  # not created yet
            return
        self.steps += 1
        problem = self.oracle.difference(self.collection)
        assert problem is None, problem
        filter = FILTERS[self.steps % len(FILTERS)]
        self._reads(filter)
        for name in self.vectors:
            query = self._vector(self.steps * 5 + 1, name)
            self._searches(name, query, None)
            self._searches(name, query, filter)

    def _reads(self, filter: Any) -> None:
        wanted = self.oracle.matching(filter)
        assert self.collection.count(filter).count == len(wanted)
        page = 1 + self.steps % 7
        offset, found = None, []
        while True:
            records, offset = self.collection.scroll(filter, page, offset)
            found += [record.id for record in records]
            if offset is None:
                break
            assert len(records) == page
        assert found == wanted
        records = self.collection.retrieve([*reversed(IDS), 12345], with_vectors=True)
        assert [r.id for r in records] == [i for i in reversed(IDS) if i in self.oracle.points]
        for record in records:
            problem = self.oracle.record_difference(record)
            assert problem is None, problem

    def _searches(self, name: str, query: np.ndarray, filter: Any) -> None:
        total = len(IDS)
        limit = 1 + self.steps % total
        everything = {"quantization": {"rescore": True, "oversampling": float(total)}}
        for params in ({"exact": True}, everything, {"quantization": {"ignore": True}}):
            self._search(name, query, limit, filter, params, error=0.0)
        # By default and without rescoring: the right points, as many as there are, and scores
        # that are true, or as near as the codes can be.
        rough = {"quantization": {"rescore": False}}
        self._search(name, query, limit, filter, None, error=1e-9)
        self._search(name, query, limit, filter, rough, error=self._code_error(name, query))

    def _search(
        self, name: str, query: Any, limit: int, filter: Any, params: Any, *, error: float
    ) -> None:
        given = (name, query) if name else query
        hits = self.collection.search(given, query_filter=filter, search_params=params, limit=limit)
        problem = self.oracle.search_difference(hits, name, query, limit, filter, error=error)
        assert problem is None, f"{params}: {problem}"

    def _code_error(self, name: str, query: np.ndarray) -> float:
        """How wrong a score from codes may be. Segments may have those of an earlier setting, so
        there is a figure only while all are scalar."""
        if self.quantization != SCALAR or self._other_codes():
            return float("inf")
        dim, distance = self.vectors[name]
        step = 2 * (1.0 if distance == "Cosine" else BOUND) / 255 / 2
        if distance == "Manhattan":
            return dim * step
        if distance == "Euclid":
            return float(np.sqrt(dim)) * step
        return float(np.abs(self.oracle.stored(name, query)).sum()) * step

    def _other_codes(self) -> bool:
        codes = {
            v.quantization for s in self.collection.info().segments for v in s.vectors.values()
        }
        return not codes <= {None, "scalar"}


@pytest.mark.slow
@pytest.mark.timeout(600 * SCALE)
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_model(configuration: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not five minutes to make a failure small; the test's own time would be over.
    engine = "hypothesis.internal.conjecture.engine"
    monkeypatch.setattr(f"{engine}.MAX_SHRINKING_SECONDS", 60, raising=False)
    vectors, quantization = CONFIGURATIONS[configuration]
    machine = type("Machine", (Machine,), {"vectors": vectors, "quantization": quantization})
    if SCALE == 1:  # the same examples in every run, but others for every configuration
        seed(zlib.crc32(configuration.encode()))(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30 * SCALE,
            stateful_step_count=40,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


PAYLOADS: list[Any] = [{}, {"n": 1}, {"a": "x", "deep": {"x": [1, None]}}, {"tags": ["x", 1.0]}]
CODES = [SCALAR, CLIPPED, BINARY, PRODUCT, "Disabled"]


@pytest.mark.slow
@pytest.mark.timeout(600 * SCALE)
@pytest.mark.parametrize("configuration", ["none", "scalar", "product-unnamed"])
def test_long_run(configuration: str) -> None:
    """Hundreds of steps on one database. Hypothesis's runs are short; here much is written
    between two checkpoints, and a crash has a long log to bring back."""
    vectors, quantization = CONFIGURATIONS[configuration]
    start = zlib.crc32(configuration.encode()) if SCALE == 1 else uuid.uuid4().int >> 96
    rng = np.random.default_rng(start)
    machine = type("Machine", (Machine,), {"vectors": vectors, "quantization": quantization})()
    machine.create(mapped=bool(rng.integers(2)), sync="never")
    count, name = 0, ""
    replayed = []

    def ids(most: int) -> list[Any]:
        return [IDS[i] for i in rng.integers(0, len(IDS), int(rng.integers(1, most)))]

    def number() -> int:
        return int(rng.integers(2**32))

    def payload() -> Any:
        return PAYLOADS[rng.integers(len(PAYLOADS))]

    def filter() -> Any:
        return FILTERS[rng.integers(len(FILTERS))] if rng.random() < 0.3 else None

    def crash(**how: Any) -> None:
        if how:
            machine.kill_in_write(**how)
        else:
            machine.kill(follow=True)
        replayed.append(machine.collection.recovery.replayed)

    actions: dict[str, tuple[int, Any]] = {
        "points": (16, lambda: machine.upsert_points(ids(12), number(), payload())),
        "batch": (16, lambda: machine.upsert_batch(ids(20), number(), payload(), number() % 2)),
        "delete": (8, lambda: machine.delete(ids(4))),
        "delete matching": (1, lambda: machine.delete_matching(FILTERS[rng.integers(5)])),
        "set": (8, lambda: machine.put_payload(ids(6), filter(), payload(), "deep", "set")),
        "overwrite": (4, lambda: machine.put_payload(ids(6), filter(), payload(), 0, "overwrite")),
        "cut": (4, lambda: machine.cut_payload(ids(6), filter(), ["n", "deep.x"])),
        "vectors": (6, lambda: machine.update_vectors(ids(6), number())),
        "drop vectors": (3, lambda: machine.delete_vectors(ids(4), filter(), number())),
        "flush": (2, lambda: machine.flush()),
        "optimize": (4, lambda: machine.optimize(flush=False, steps=1)),
        "optimize all": (1, lambda: machine.optimize_all()),
        "codes": (1, lambda: machine.change_codes(CODES[rng.integers(len(CODES))])),
        "placements": (1, lambda: machine.change_placements(int(rng.integers(2)), True, None)),
        "reopen": (1, lambda: machine.reopen()),
        "crash": (2, crash),
        "torn": (2, lambda: crash(cut=number(), follow=True)),
    }
    weights = np.array([weight for weight, _ in actions.values()], dtype=float)
    try:
        for count in range(400 * SCALE):  # noqa: B007 - for the message
            name = str(rng.choice(list(actions), p=weights / weights.sum()))
            if machine.oracle.points or name in ("points", "batch", "flush", "crash"):
                actions[name][1]()
                machine.agrees()
    except BaseException as error:
        raise AssertionError(f"{configuration}, seed {start}, step {count}: {name}") from error
    finally:
        machine.teardown()
    assert max(replayed) > 5
