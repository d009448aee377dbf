"""What is there after the kill: opened, and compared with what the threads that wrote were told."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from typing import Any

from proofs.kill.rounds import IDS, NAME, Heard, Known, Lane, Round, merged
from proofs.lives import Message, Wrong
from proofs.model.comparison import difference, indexed_segments
from proofs.model.drawing import FIELDS
from proofs.model.oracle import Oracle
from proofs.model.settings import settings_of
from vecdb import VecDB
from vecdb.engine.repair.check import check_database


def check(path: Path, known: Known, round: Round, heard: Heard) -> Message:
    """Open what was killed. All acknowledged writes must be there, of each thread at most the one
    under way besides, wholly, and nothing else; every way of reading must say the same."""
    if (path / "FORMAT").is_file():
        _require_sound(path, "after the kill")
    started = time.perf_counter()
    db = VecDB(path, sync=round.sync)
    seconds = time.perf_counter() - started
    try:
        result = _look(db, known, round, heard)
    finally:
        db.close()
    _require_sound(path, "after recovery and close")
    return {**result, "acked": heard.acked, "seconds": seconds}


def _require_sound(path: Path, when: str) -> None:
    report = check_database(path)
    if not report.ok:
        raise Wrong(f"check {when}: {report.problems}")


def _look(db: VecDB, known: Known, round: Round, heard: Heard) -> Message:
    lanes = known.lanes(round)
    nothing = {"exists": False, "applied": [False] * len(lanes), "replayed": 0, "torn": 0}
    if db.damaged:
        raise Wrong(f"damaged: {db.damaged}")
    names = [c.name for c in db.get_collections().collections]
    must_exist = known.created or bool(heard.moments["created"])
    if not names and not must_exist:
        return nothing
    if names != [NAME]:
        raise Wrong(f"collections {names}, not {[NAME]}")
    collection = db.collection(NAME)
    settings = settings_of(collection.info().config)
    allowed = [round.settings] if heard.moments["configured"] else [*known.settings, round.settings]
    if settings not in allowed:
        raise Wrong(f"settings {settings}, not {' or '.join(map(str, allowed))}")

    records, _ = collection.scroll(limit=10 * IDS, with_vectors=True)
    found = {record.id: record for record in records}
    applied = []
    for lane, acked in zip(lanes, heard.acked, strict=True):
        for _ in range(acked):
            lane.take(lane.next())
        lane.ends = [dict(lane.oracle.indexes)]
        applied.append(acked < round.writes and _take_if_applied(lane, found))
    indexes = _indexes(collection, known.oracle, lanes)
    oracle = merged(known.vectors, [lane.oracle for lane in lanes])
    oracle.indexes = indexes
    other = [i for i, r in found.items() if i in oracle.points and oracle.record_difference(r)]
    lost = sorted(map(str, [*(oracle.points.keys() - found.keys()), *other]))
    result: Message = {
        "exists": True,
        "settings": settings,
        "indexes": indexes,
        "applied": applied,
        "replayed": collection.recovery.replayed,
        "torn": collection.recovery.torn_bytes,
        "lost": len(lost),
        "resurrected": len(found.keys() - oracle.points.keys()),
        "duplicates": len(records) - len(found),
    }
    rng = Random(f"{round.seed}/{round.number}/check")
    result["indexed"] = indexed_segments(db, NAME)
    problem = difference(collection, oracle, known.pool, rng)
    if not problem and round.wait:
        db.wait_for_optimizer(NAME)
        result["indexed"] += indexed_segments(db, NAME)
        problem = difference(collection, oracle, known.pool, rng)
        problem = problem and f"after the optimizer: {problem}"
    if problem:
        result["problem"] = f"{problem}; as acknowledged are not {lost[:10]}"
    return result


def _indexes(collection: Any, known: Oracle, lanes: list[Lane]) -> dict[str, str]:
    """The indexes that there are. One is as some thread left it that changed it; if none did, as it
    was before."""
    schema = collection.info().payload_schema
    found = {name: of_field.data_type.value for name, of_field in schema.items()}
    for name in {*FIELDS, *found}:
        allowed = {e.get(name) for lane in lanes if name in lane.fields for e in lane.ends}
        allowed = allowed or {known.indexes.get(name)}
        if found.get(name) not in allowed:
            raise Wrong(f"an index of {name}: {found.get(name)}, not one of {allowed}")
    return found


def _take_if_applied(lane: Lane, found: dict[Any, Any]) -> bool:
    """Whether the write that was under way is there, wholly, and changed something; if so the
    lane takes it."""
    before = lane.oracle.copy()
    lane.take(lane.next())
    lane.ends.append(lane.oracle.indexes)
    old, new = before.points, lane.oracle.points
    touched = [i for i in {*old, *new} if old.get(i) is not new.get(i)]
    for point_id in touched:
        record, point = found.get(point_id), new.get(point_id)
        if (record is None) != (point is None) or (
            record and lane.oracle.record_difference(record)
        ):
            lane.oracle = before
            return False
    return bool(touched)
