"""One round of the kill loop: what is drawn, and written until the kill."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from proofs.lives import Message, Say
from proofs.model.drawing import FIELDS
from proofs.model.oracle import Oracle
from proofs.model.settings import create, draw_settings
from proofs.model.sparse import PLACES
from proofs.model.writes import INDEXES, WEIGHTS, Pool, Write, draw, perform, take
from vecdb import VecDB
from vecdb.engine.optimize import columns
from vecdb.engine.write import checkpoint
from vecdb.storage import fs
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.catalog import Catalog

NAME = "points"
IDS = 1000
"""So many that segments large enough for an index are common."""

UPKEEP = ("flush", "run_once")
INDEX_TYPES = ("keyword", "integer", "float", "geo", "datetime")
"""None of texts: with it filters mean something else, and when it comes is not in the log."""
LARGE = "text" * (1 << 16)
SCHEMAS: list[dict[str, tuple[int, str]]] = [
    {"": (64, "Euclid")},
    {"a": (64, "Cosine"), "b": (9, "Manhattan")},
    {"a": (64, "Dot"), "b": (64, "Euclid"), "c": (3, "Cosine")},
    {"": (68, "Manhattan")},
    {"a": (64, "Dot"), "s": (PLACES, "Idf")},
    {"a": (64, "Euclid"), "m": (16, "Many Cosine")},
    {"a": (64, "uint8 Euclid"), "b": (64, "float16 Dot")},
    {},
]
# What the parent waits for before it kills: how often that is drawn, and how many seconds more
# it may wait then.
MOMENTS = {
    "fork": (15, 0.03),  # the database is being opened: it is recovery that is killed
    "opened": (5, 0.01),  # the configuration is being changed
    "ack": (40, 0.004),
    "build": (15, 0.01),  # a segment is being written, by a checkpoint or by the optimizer
    "column": (10, 0.003),  # one is being written, for an index that has just been made
    "commit": (10, 0.002),  # of either, or of a configuration
    "append": (5, 0.002),  # more than a megabyte is being written: it may be torn
    "snapshot": (5, 0.01),  # one is being taken, or recovered from
    "closing": (10, 0.01),
}


@dataclass(frozen=True)
class Round:
    """Everything that is drawn for a round."""

    seed: int
    number: int
    sync: Any
    sync_interval: float
    threads: int
    writes: int
    """By each thread."""
    settings: dict[str, Any]
    """Arguments of ``update_collection``."""
    memory_limit: int
    slow: bool
    """Every step that changes files takes up to a millisecond more, as on a slow disk: kills fall
    between steps then."""
    moment: str
    after: int
    """How many of these moments there must have been."""
    delay: float
    in_place: bool
    """What crashed is opened, and the next round begins after that; or a copy of it is, and the
    next round begins with the crash."""
    wait: bool
    """Whoever opens it waits for the optimizer and compares again."""


def draw_round(seed: int, number: int, vectors: dict[str, tuple[int, str]]) -> Round:
    rng = Random(f"{seed}/{number}")
    threads, writes = rng.choice((1, 1, 2, 3, 4)), rng.randint(5, 40)
    weights = [weight for weight, _ in MOMENTS.values()]
    moment = rng.choices(list(MOMENTS), weights)[0]
    after = {
        "ack": rng.randint(0, threads * writes),
        "build": rng.randint(1, 4),
        "column": rng.randint(1, 8),
        "commit": rng.randint(1, 3),
        "append": rng.randint(1, 4),
        "snapshot": rng.randint(1, 4),
    }
    return Round(
        seed=seed,
        number=number,
        sync=rng.choice(("always", "interval", "never")),
        sync_interval=rng.choice((0.001, 0.01, 1.0)),
        threads=threads,
        writes=writes,
        settings=draw_settings(rng, vectors),
        memory_limit=rng.choice((8 << 10, 64 << 10, 64 << 20)),
        slow=rng.random() < 0.2,
        moment=moment,
        after=after.get(moment, 1),
        delay=rng.uniform(0, MOMENTS[moment][1]),
        in_place=rng.random() < 0.5,
        wait=rng.random() < 0.5,
    )


class Lane:
    """What one thread of a round writes: points that no other thread touches."""

    def __init__(self, round: Round, number: int, oracle: Oracle, pool: Pool) -> None:
        self.pool = pool if round.threads == 1 else pool.share(number, round.threads)
        self.oracle = Oracle(oracle.vectors)
        self.oracle.points = {i: oracle.points[i] for i in self.pool.ids if i in oracle.points}
        self.oracle.indexes = dict(oracle.indexes)
        self.fields: set[str] = set()
        """Those whose index it made or took away."""
        self.ends: list[dict[str, str]] = []
        """The indexes at last, if nobody else changed any: without the write that was under way,
        and with it."""
        self._rng = Random(f"{round.seed}/{round.number}/{number}")
        self._large = round.moment == "append"
        self._indexes = 0.3 if round.moment == "column" else 0.03
        self._snapshots = 0.2 if round.moment == "snapshot" else 0.02
        self._alone = round.threads == 1
        self._saved: Oracle | None = None

    def next(self) -> Write:
        """The next write, in the state as it is."""
        if self._rng.random() < 0.08:
            return Write(self._rng.choice(UPKEEP))
        if self._rng.random() < self._snapshots:
            return Write("create_snapshot" if self._saved is None else "recover_snapshot")
        if self._rng.random() < self._indexes:
            verb = self._rng.choice(("create_payload_index", *INDEXES))
            names = (self._rng.choice(FIELDS), self._rng.choice(INDEX_TYPES))
            return Write(verb, self._rng.randrange(2), names=names)
        write = draw(self._rng, self.oracle, self.pool, WEIGHTS)
        if self._large and write.verb == "upsert":
            payload = {"text": LARGE, "n": 1}
            write = replace(write, rows=[(i, payload, v) for i, _, v in write.rows[:12]])
        return write

    def take(self, write: Write) -> None:
        """It is written."""
        if write.verb == "create_snapshot":
            self._saved = self.oracle.copy() if self._alone else None
        elif write.verb == "recover_snapshot":
            assert self._saved is not None
            self.oracle = self._saved.copy()
            self.fields.update(FIELDS)
        elif write.verb not in UPKEEP:
            self.fields.update(write.names[:1] if write.verb in INDEXES else ())
            take(self.oracle, write)


@dataclass
class Heard:
    """What the killed process had said."""

    acked: list[int]
    """Writes that returned, by thread."""
    moments: Counter[str] = field(default_factory=Counter)
    problem: str | None = None

    def note(self, messages: list[Message]) -> None:
        for message in messages:
            self.problem = message.get("problem", self.problem)
            if "moment" in message:
                self.moments[message["moment"]] += 1
            if "thread" in message:
                self.acked[message["thread"]] += 1

    def reached(self, round: Round) -> bool:
        """Whether it is time to kill."""
        late = self.moments["closed"] or (round.moment != "closing" and self.moments["closing"])
        return round.moment == "fork" or bool(late) or self.moments[round.moment] >= round.after


class Known:
    """What is known of a directory: what it must hold, and what may be."""

    def __init__(self, seed: int, first: int) -> None:
        self.seed = seed
        self.first = first
        """The round in which the directory was made."""
        self.vectors = Random(f"{seed}/{first}/schema").choice(SCHEMAS)
        self.pool = Pool(f"{seed}/{first}", self.vectors, IDS)
        self.oracle = Oracle(self.vectors)
        self.created = False
        self.settings: list[dict[str, Any]] = []
        """Those the collection may have."""
        self.history: list[Message] = []

    def round(self, number: int) -> Round:
        return draw_round(self.seed, number, self.vectors)

    def lanes(self, round: Round) -> list[Lane]:
        return [Lane(round, n, self.oracle, self.pool) for n in range(round.threads)]

    def advance(self, round: Round, result: Message) -> Counter[str]:
        """A round is over and ``check`` was content. Returns how many of each verb took place."""
        verbs: Counter[str] = Counter()
        lanes = self.lanes(round)
        for lane, acked, applied in zip(lanes, result["acked"], result["applied"], strict=True):
            for _ in range(acked + applied):
                write = lane.next()
                lane.take(write)
                verbs[write.verb] += 1
        self.oracle = merged(self.vectors, [lane.oracle for lane in lanes])
        self.oracle.indexes = result.get("indexes", {})
        self.created = result["exists"]
        self.settings = [result["settings"]] if self.created else []
        self.history.append(result)
        return verbs


def merged(vectors: dict[str, tuple[int, str]], parts: list[Oracle]) -> Oracle:
    whole = Oracle(vectors)
    for part in parts:
        whole.points.update(part.points)
    return whole


# -- the process that is killed --------------------------------------------------------------


def write(path: Path, known: Known, round: Round, say: Say) -> None:
    """Open, configure, write with some threads, close, and wait to be killed."""
    checkpoint.MEMORY_LIMIT = round.memory_limit
    if round.slow:
        _slow_down()
    _announce(SegmentBuilder, "__init__", "build", say)
    _announce(Catalog, "commit", "commit", say)
    _announce(columns, "write_column", "column", say)
    _announce_large(fs.AppendFile, say)
    db = VecDB(path, sync=round.sync, sync_interval=round.sync_interval)
    say(moment="opened")
    if db.collection_exists(NAME):
        db.update_collection(NAME, **round.settings)
    else:
        create(db, NAME, known.vectors, round.settings)
        say(moment="created")
    say(moment="configured")
    errors: list[BaseException] = []
    threads = [
        threading.Thread(target=_write, args=(db, lane, round, number, say, errors))
        for number, lane in enumerate(known.lanes(round))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    db.wait_for_optimizer()
    say(moment="closing")
    db.close()
    say(moment="closed")
    signal.pause()


def _announce(owner: Any, name: str, moment: str, say: Say) -> None:
    """Say when a method begins."""
    method = getattr(owner, name)

    def announced(*args: Any, **kwargs: Any) -> Any:
        say(moment=moment)
        return method(*args, **kwargs)

    setattr(owner, name, announced)


def _slow_down() -> None:
    steps = ("make_dir", "sync_dir", "sync_file", "rename", "remove_file", "remove_tree")
    for owner, names in ((fs, steps), (fs.AppendFile, ("append", "sync")), (Catalog, ("commit",))):
        for name in names:
            setattr(owner, name, _delayed(getattr(owner, name)))


def _delayed(step: Any) -> Any:
    def delayed(*args: Any, **kwargs: Any) -> Any:
        time.sleep(random.uniform(0, 0.001))
        return step(*args, **kwargs)

    return delayed


def _announce_large(owner: Any, say: Say) -> None:
    append = owner.append

    def announced(file: Any, buffers: Any) -> None:
        if sum(memoryview(buffer).nbytes for buffer in buffers) > 1 << 20:
            say(moment="append")
        append(file, buffers)

    owner.append = announced


def _write(
    db: VecDB, lane: Lane, round: Round, number: int, say: Say, errors: list[BaseException]
) -> None:
    try:
        for _ in range(round.writes):
            write = lane.next()
            _perform(db, write, say)
            say(moment="ack", thread=number)
            lane.take(write)
    except BaseException as error:
        errors.append(error)


def _perform(db: VecDB, write: Write, say: Say) -> None:
    if write.verb.endswith("snapshot"):
        say(moment="snapshot")
    match write.verb:
        case "run_once":
            db.optimizer.run_once()
        case "flush":
            db.flush(NAME)
        case "create_snapshot":
            new = db.create_snapshot(NAME)
            for snapshot in db.list_snapshots(NAME):
                if snapshot.name < new.name:  # another thread may have made a newer one
                    db.delete_snapshot(NAME, snapshot.name)
        case "recover_snapshot":
            db.recover_snapshot(NAME, db.list_snapshots(NAME)[-1].name)
        case _:
            perform(db.collection(NAME), write)
