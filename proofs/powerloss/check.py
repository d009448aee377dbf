"""One disk image: opened, and compared with what may be there.

check      the image as the crash left it is not damaged
open       every collection holds an allowed state, and searches are as good as brute force
check      again, after recovery
reopen     recovery has nothing left to do and has changed nothing
go on      writes and optimizer steps work, and what they leave is sound
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from proofs.model.multi import MANY, kind_of, max_sims
from proofs.model.narrow import plain
from proofs.model.oracle import SIMILARITIES, Oracle, Points
from proofs.model.oracle import read as read_points
from proofs.model.sparse import MODIFIERS, PLACES, given
from proofs.model.writes import Write, perform
from proofs.powerloss.promises import Allowed, History
from proofs.powerloss.steps import SPACES, Model, State
from vecdb import VecDB, models
from vecdb.engine.repair.check import check_database

_NEW = 1_000_003
"""Number of the point that is written after recovery; no workload has it."""
_RESTORED = "restored"
Recovery = tuple[tuple[bool, bool, int], ...]
"""Of each collection: operations were replayed, the log was torn, how much was removed."""


def warm() -> None:
    """Import everything a check needs, so that forked children have it."""
    logging.getLogger("vecdb").setLevel(logging.CRITICAL)  # what it says of damage is checked
    import vecdb.kernels.codes
    import vecdb.kernels.distance
    import vecdb.kernels.nearest
    import vecdb.kernels.partitions
    import vecdb.kernels.residuals  # noqa: F401

    with tempfile.TemporaryDirectory() as directory, VecDB(Path(directory) / "db") as db:
        db.create_collection("c", {"size": 4, "distance": "Dot"})
        db.upsert("c", [models.PointStruct(id=1, vector=[1, 2, 3, 4])])
        db.search("c", [1, 2, 3, 4])
        db.flush()


def check_image(path: Path, history: History, allowed: Allowed) -> None:
    """Raises AssertionError if something is wrong. Changes the image."""
    archived = history.everything().snapshots
    unsound, seen = None, None
    if (path / "FORMAT").exists():
        unsound = _damage(path, "before recovery")  # said only if recovery goes well all the same
        seen = _read_only(path, archived)
    with VecDB(path) as db:
        found = read(db, archived)
        _require(history.difference(found, allowed))
        if seen is not None:
            _require(_unequal(found, seen, "read-only"))
        found = history.known(found, allowed)
        for name, model in found.collections.items():
            _require(_search_difference(db, name, model))
            _require(_filter_difference(db, name, model))
            if SPACES[model.space].background:  # let it rest, or the next open goes on with it
                db.flush(name)
                db.wait_for_optimizer(name)
    _require(unsound or _damage(path, "after recovery"))
    before = _files(path)
    with VecDB(path) as db:
        _require(_changed(before, _files(path), "a second open"))
        for name in found.collections:
            report = db.collection(name).recovery
            if report.replayed or report.torn_bytes or report.removed:
                raise AssertionError(f"{name}: a second open had something to do: {report}")
        _require(_unequal(found, read(db, archived), "a second open"))
        for name, models_then in found.snapshots.items():
            _require(_restored_difference(db, name, models_then))
        going_on = _go_on(db, found)
    _require(_damage(path, "going on"))
    with VecDB(path) as db:
        _require(_unequal(going_on, read(db, archived), "going on"))


def explore(path: Path) -> tuple[Recovery, State]:
    """What recovery has to do with an image, and what it makes of it."""
    with VecDB(path) as db:
        reports = [db.collection(c.name).recovery for c in db.get_collections().collections]
        recovery = tuple((r.replayed > 0, r.torn_bytes > 0, len(r.removed)) for r in reports)
        return recovery, read(db)


def _read_only(path: Path, archived: Iterable[str]) -> State:
    """What another process may see; which changes nothing."""
    before = _files(path)
    with VecDB(path, read_only=True) as db:
        seen = read(db, archived)
    _require(_changed(before, _files(path), "reading"))
    return seen


def read(db: VecDB, archived: Iterable[str] = ()) -> State:
    """All of a database; the archives of collections of these names are counted, not read."""
    damaged = getattr(db, "damaged", None)
    if damaged:
        raise AssertionError(f"damaged: {damaged}")
    collections = {}
    for collection in db.get_collections().collections:
        info = db.get_collection(collection.name)
        if getattr(info, "damaged_files", None):
            raise AssertionError(f"{collection.name}: damaged files {info.damaged_files}")
        collections[collection.name] = Model(
            "", _points(db, collection.name), config_of(info.config)
        )
    unread = Model("", {}, {})
    snapshots = {name: (unread,) * len(db.list_snapshots(name)) for name in archived}
    aliases = {each.alias_name: each.collection_name for each in db.get_aliases().aliases}
    for alias, name in aliases.items():
        if db.collection(alias) != db.collection(name):
            raise AssertionError(f"{alias} is another collection than {name}")
    return State(collections, snapshots, aliases)


def _points(db: VecDB, name: str) -> Points:
    try:
        return read_points(db.collection(name))
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from None


def config_of(config: Any) -> dict[str, Any]:
    """The parts of a configuration that steps change."""
    built = models.to_builtins(config)
    codes = built.get("quantization_config")
    vectors = built["params"]["vectors"]
    named = {"": vectors} if "size" in vectors else vectors
    sparse = built["params"].get("sparse_vectors", {})
    means = {modifier: name for name, modifier in MODIFIERS.items()}
    one: dict[str, Any] = next(iter(named.values()), {})
    return {
        **built["optimizer_config"],
        "codes": next(iter(codes)) if codes else None,
        "on_disk": one.get("on_disk"),
        "vectors": {name: kind_of(v) for name, v in named.items()}
        | {name: [PLACES, means[v["modifier"]]] for name, v in sparse.items()},
        "metadata": built.get("metadata"),
        "payload_schema": built.get("payload_schema", {}),
    }


def _search_difference(db: VecDB, name: str, model: Model) -> str | None:
    """Searches of all points and of the best few, against every score worked out here."""
    points = model.points
    for vector, (dim, distance) in SPACES[model.space].vectors.items():
        ids = [i for i, point in points.items() if vector in point.vectors]
        several = [points[i].vectors[vector] for i in ids]
        query = np.arange(dim, dtype=np.float32) % 7 - 3
        if distance in MANY:
            query = np.stack([query, query[::-1]])
        else:
            rows = np.array(several, dtype=np.float64).reshape(-1, dim)
        if distance in MODIFIERS:
            shared = ((rows != 0) & (query != 0)).any(axis=1)
            ids, rows = [i for i, some in zip(ids, shared, strict=True) if some], rows[shared]
        similar = distance in SIMILARITIES
        assert similar or distance not in MANY
        asked: Any = given(query) if distance in MODIFIERS else query
        if distance in MANY:
            scores = max_sims(np.matmul, several, query)
        elif similar:
            scores = rows @ query
        elif plain(distance) == "Euclid":
            scores = -np.sqrt(np.square(rows - query).sum(axis=1))
        else:
            scores = -np.abs(rows - query).sum(axis=1)
        truth: dict[Any, float] = dict(zip(ids, scores if similar else np.abs(scores), strict=True))
        best = np.sort(scores)[::-1] if similar else np.abs(np.sort(scores)[::-1])
        for limit, exact in ((len(ids) + 1, False), (7, True), (7, False)):
            hits = db.search(
                name,
                (vector, asked) if vector else asked,
                search_params={"exact": exact},
                limit=limit,
            )
            found = [hit.score for hit in hits]
            right = [truth.get(hit.id, np.nan) for hit in hits]
            what = f"{name}: search {vector!r} limit {limit}"
            if len({hit.id for hit in hits}) != min(limit, len(ids)):
                return f"{what}: {len(hits)} results of {len(ids)} points"
            if not np.allclose(found, right, rtol=1e-5):
                return f"{what}: scores {found[:5]}, not {right[:5]}"
            every = exact or limit > len(ids)  # else an index may have missed some
            if every and not np.allclose(found, best[:limit], rtol=1e-5):
                return f"{what}: scores {found[:5]}, the best are {best[:5]}"
    return None


def _filter_difference(db: VecDB, name: str, model: Model) -> str | None:
    """What filters on payloads find, whether or not there are columns."""
    oracle = Oracle({})
    oracle.points = dict(model.points)
    for field in ("place", "version"):
        for value in range(6):
            filter = {"must": [{"key": field, "match": {"value": value}}]}
            found, wanted = db.count(name, filter).count, len(oracle.matching(filter))
            if found != wanted:
                return f"{name}: {found} points with {field} {value}, not {wanted}"
    return None


def _restored_difference(db: VecDB, name: str, then: tuple[Model, ...]) -> str | None:
    """Every archive of a collection, restored under another name."""
    for model, archive in zip(then, db.list_snapshots(name), strict=True):
        db.recover_snapshot(_RESTORED, db.path / "snapshots" / name / archive.name)
        if _points(db, _RESTORED) != model.points:
            return f"{archive.name} does not hold what {name} was"
        db.delete_collection(_RESTORED)
    return None


def _go_on(db: VecDB, found: State) -> State:
    """One more point in every collection, the aliases switched, the optimizer until it rests."""
    state = found
    for name, model in found.collections.items():
        space = SPACES[model.space]
        write = Write("upsert", 1, [(_NEW, *space.row(_NEW, 0)[1:])])
        perform(db.collection(name), write)
        points = space.after(model.points, write)
        state = state.with_model(name, replace(model, points=points))
    for alias in found.aliases:
        name = max(found.collections)
        new = {"alias_name": alias, "collection_name": name}
        db.update_collection_aliases([{"create_alias": new}])
        state = replace(state, aliases={**state.aliases, alias: name})
    while db.optimizer.run_once():
        pass
    return state


def _unequal(wanted: State, found: State, when: str) -> str | None:
    if wanted.collections.keys() != found.collections.keys():
        return f"{when}: collections {sorted(found.collections)}, not {sorted(wanted.collections)}"
    for name, model in wanted.collections.items():
        if replace(found.collections[name], space="") != replace(model, space=""):
            return f"{when}: {name} is not the same"
    if {n: len(s) for n, s in wanted.snapshots.items()} != {
        n: len(s) for n, s in found.snapshots.items()
    }:
        return f"{when}: the snapshots are not the same"
    if wanted.aliases != found.aliases:
        return f"{when}: aliases {found.aliases}, not {wanted.aliases}"
    return None


def _files(path: Path) -> dict[str, tuple[int, bytes]]:
    """Length and content of every file; of the log only the lengths, because an open starts a
    file anew, and nothing of locks."""
    found = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.name not in ("LOCK", "lock.mdb"):
            data = b"" if file.suffix == ".wal" else file.read_bytes()
            digest = hashlib.blake2b(data, digest_size=16).digest()
            found[str(file.relative_to(path))] = (file.stat().st_size, digest)
    return found


def _changed(before: dict[str, Any], after: dict[str, Any], who: str) -> str | None:
    names = sorted(n for n in {*before, *after} if before.get(n) != after.get(n))
    return f"{who} changed {', '.join(names[:5])}" if names else None


def _require(problem: str | None) -> None:
    if problem is not None:
        raise AssertionError(problem)


def _damage(path: Path, when: str) -> str | None:
    report = check_database(path)
    return None if report.ok else f"check {when}: {report.problems[0]}"
