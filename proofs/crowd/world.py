"""What the crowd does, and what must be there afterwards.

Databases stand at places of one directory. They are moved, copied, removed and made again while
handles on them live. A *place* is a name in the directory. A database stands at a place, or is
gone. A *handle* belongs to the database that stood at its place when it was opened, wherever that
is now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from proofs.model.oracle import Oracle
from proofs.model.settings import Settings, draw_settings
from proofs.model.writes import WEIGHTS, Pool, Write, draw, take
from proofs.soak.world import SCHEMAS, Kept

PLACES = [f"place-{number}" for number in range(12)]
DATABASES = 6
"""How many there are before some are removed again."""
COLLECTIONS = 12
"""In one database, before some are deleted again."""
HANDLES = 8
"""Open at a time, in one process."""
IDS = 120
SAMPLE_EVERY = 250
"""Operations between two looks at what the process holds."""

# How often each verb is drawn.
VERBS = {
    "write": 500,
    "read": 200,
    "compare": 10,
    "flush": 20,
    "optimize": 15,
    "open": 40,
    "open_reader": 30,
    "refresh": 60,
    "close": 40,
    "close_while_indexing": 20,
    "forget": 5,
    "create_collection": 20,
    "delete_collection": 12,
    "snapshot": 3,
    "fork": 4,
    "make": 6,
    "move": 12,
    "copy": 4,
    "remove": 6,
}

REFUSED, DONE = "-", "+"


@dataclass
class Database:
    """One database as it must be."""

    number: int
    place: str | None
    """Where it stands; None: it was removed."""
    kept: dict[str, Kept] = field(default_factory=dict)

    def copy(self, number: int, place: str) -> Database:
        """Another of the same content."""
        return Database(number, place, {name: kept.copy() for name, kept in self.kept.items()})


@dataclass
class Handle:
    """A handle on a database, in the life of one process."""

    number: int
    database: Database
    place: str
    """Where the database stood when it was opened."""
    reading: bool
    seen: dict[str, Kept] = field(default_factory=dict)
    """What a reader saw at its last refresh."""
    lost: bool = False
    """It was refused once because its place was taken."""

    @property
    def displaced(self) -> bool:
        """Whether its database is no more where the handle was opened."""
        return self.database.place != self.place


@dataclass(frozen=True)
class Step:
    """One operation. ``handle``: its number, -1 for none."""

    number: int
    verb: str
    handle: int = -1
    name: str = ""
    """Of a collection."""
    write: Write | None = None
    vectors: dict[str, tuple[int, str]] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    source: str = ""
    target: str = ""
    """Places."""


class World:
    """All databases as they must be. Follows from the seed, the steps and how each came out."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.databases: list[Database] = []
        """Those that stand somewhere."""
        self.handles: dict[int, Handle] = {}
        self._numbers = 0

    # -- what stands where -----------------------------------------------------------------

    def at(self, place: str) -> Database | None:
        """The database that stands at a place."""
        return next((each for each in self.databases if each.place == place), None)

    def standing(self) -> list[Database]:
        """Those of which the place was not removed."""
        return [each for each in self.databases if each.place is not None]

    def is_locked(self, database: Database) -> bool:
        """Whether a handle has it open for writing."""
        of = (h for h in self.handles.values() if h.database is database and not h.reading)
        return next(of, None) is not None

    def end_of_life(self) -> None:
        """Of the process: no handle outlives it."""
        self.handles = {}

    # -- drawing ---------------------------------------------------------------------------

    def draw(self, number: int) -> Step:
        """The operation of this number. Of what cannot be done now, a ``make`` comes of it."""
        rng = Random(f"{self.seed}/{number}")
        verb = rng.choices(list(VERBS), list(VERBS.values()))[0]
        free = [place for place in PLACES if self.at(place) is None]
        standing = [each.place or "" for each in self.standing()]
        if not standing:
            return Step(number, "make", target=rng.choice(free))
        if verb in ("make", "copy") and (len(standing) >= DATABASES or not free):
            verb = "remove"
        if verb == "remove" and len(standing) <= 2:
            verb = "make"
        if verb == "make":
            return Step(number, verb, target=rng.choice(free))
        if verb in ("move", "remove", "copy"):
            source = rng.choice(standing)
            return Step(number, verb, source=source, target=rng.choice(free))
        if verb in ("open", "open_reader") and len(self.handles) >= HANDLES:
            verb = "close"
        if verb in ("open", "open_reader", "fork"):
            return Step(number, verb, source=rng.choice(standing))
        return self._by_handle(number, verb, rng) or Step(
            number, "open", source=rng.choice(standing)
        )

    def _by_handle(self, number: int, verb: str, rng: Random) -> Step | None:
        fit = [h for h in self.handles.values() if _can(h, verb)]
        if not fit:
            return None
        handle = rng.choice(fit)
        kept = handle.seen if handle.reading else handle.database.kept
        if verb == "create_collection" and len(kept) >= COLLECTIONS:
            verb = "delete_collection"
        if verb == "create_collection" or not kept:
            vectors = rng.choice([*SCHEMAS, {}])
            settings = draw_settings(rng, vectors)
            if handle.reading:
                return Step(number, "refresh", handle.number)
            name = f"c{number}"
            return Step(
                number, "create_collection", handle.number, name, vectors=vectors, settings=settings
            )
        if verb in ("close", "forget", "refresh", "optimize", "snapshot"):
            return Step(number, verb, handle.number)
        name = rng.choice(list(kept))
        write = None
        if verb in ("write", "close_while_indexing"):
            weights = WEIGHTS if verb == "write" else {"create_payload_index": 1}
            write = draw(rng, kept[name].oracle, kept[name].pool, weights)
        return Step(number, verb, handle.number, name, write)

    # -- taking ----------------------------------------------------------------------------

    def take(self, step: Step, outcome: str) -> list[Any]:
        """A step that was done or refused, on the model; the ids of the points it was about."""
        handle = self.handles.get(step.handle)
        if outcome == REFUSED:
            if handle is not None:
                handle.lost = True
            return []
        match step.verb:
            case "write":
                assert handle is not None
                assert step.write is not None
                return take(handle.database.kept[step.name].oracle, step.write)
            case "create_collection":
                assert handle is not None
                handle.database.kept[step.name] = self._new(step)
            case "delete_collection":
                assert handle is not None
                del handle.database.kept[step.name]
            case "refresh":
                assert handle is not None
                standing = self.at(handle.place)
                assert standing is not None
                handle.database = standing
                handle.seen = {name: kept.copy() for name, kept in standing.kept.items()}
            case "close_while_indexing":
                assert handle is not None
                assert step.write is not None
                take(handle.database.kept[step.name].oracle, step.write)
                del self.handles[step.handle]
            case "close" | "forget":
                del self.handles[step.handle]
            case _:
                self._on_places(step)
        return []

    def _on_places(self, step: Step) -> None:
        database = self.at(step.source)
        match step.verb:
            case "open" | "open_reader":
                assert database is not None
                seen = {name: kept.copy() for name, kept in database.kept.items()}
                handle = Handle(
                    step.number, database, step.source, step.verb == "open_reader", seen
                )
                self.handles[step.number] = handle
            case "make":
                self.databases.append(Database(self._number(), step.target))
            case "move":
                assert database is not None
                database.place = step.target
            case "copy":
                assert database is not None
                self.databases.append(database.copy(self._number(), step.target))
            case "remove":
                assert database is not None
                database.place = None
                # Handles on it still know it. Were it kept here, the model would grow with each
                # that is removed, and its memory would look like what the databases left.
                self.databases = self.standing()

    def _new(self, step: Step) -> Kept:
        pool = Pool(f"{self.seed}/{step.name}", step.vectors, IDS)
        return Kept(step.vectors, step.settings, step.settings, pool, Oracle(step.vectors))

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def follow(self, first: int, outcomes: Iterable[str]) -> None:
        """Take the steps from a number on, which came out so."""
        for number, outcome in enumerate(outcomes, first):
            self.take(self.draw(number), outcome)


def _can(handle: Handle, verb: str) -> bool:
    """Whether a handle is for such an operation."""
    if verb in ("read", "compare", "close"):
        return True
    if verb == "close_while_indexing":  # one that is refused would keep no index
        return not (handle.reading or handle.displaced or handle.lost)
    if verb == "forget":  # one that nobody closes keeps its database locked
        return handle.displaced or handle.reading
    return handle.reading == (verb == "refresh")
