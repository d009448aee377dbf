"""Points: what the writers have written, and what may be there of it.

A write that was answered is there. One that was given up may be there or not, and until a rest
shows which, nobody writes to its points again: it could come after the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

NAME = "soak"
DIM = 32
OF_A_WRITER = 200
"""Points, of which no other writer knows."""


def vector_of(id: int, version: int) -> list[float]:
    """The vector of a point in one of its versions: whole numbers, which come back as they were."""
    return [float((id * 31 + version * 17 + at * 7) % 101) for at in range(DIM)]


class Points:
    """Of all writers."""

    def __init__(self) -> None:
        self._possible: dict[int, set[int | None]] = {}
        """By id, the versions of which one is there; None: the point is not."""
        self._given_up: set[int] = set()
        self._version = 0
        self.answered = 0
        """Writes."""

    def free(self, writer: int) -> list[int]:
        """The points that a writer may write."""
        first = writer * OF_A_WRITER
        return [id for id in range(first, first + OF_A_WRITER) if id not in self._given_up]

    def new_version(self) -> int:
        """One that no point had before."""
        self._version += 1
        return self._version

    def wrote(self, ids: Iterable[int], version: int | None, *, answered: bool) -> None:
        """A write of one version of points, or of their deletion, has ended."""
        self.answered += answered
        for id in ids:
            if answered:
                self._possible[id] = {version}
            else:
                self._possible.setdefault(id, {None}).add(version)
                self._given_up.add(id)

    def settle(self, found: dict[int, int]) -> list[str]:
        """Compare with what is there, a version by its id, while nobody writes; what is wrong, in
        words. What is there counts from now on."""
        problems = []
        for id in self._possible.keys() | found.keys():
            possible, version = self._possible.get(id, {None}), found.get(id)
            if version not in possible:
                expected = " or ".join(map(str, sorted(possible, key=str)))
                problems.append(f"point {id}: expected version {expected}, found {version}")
            self._possible[id] = {version}
        self._given_up.clear()
        return problems


def version_in(id: int, payload: dict[str, Any] | None, vector: Any) -> int:
    """The version of a point that was read. Raises AssertionError if it is not wholly that one."""
    version: int = (payload or {})["version"]
    assert list(vector) == vector_of(id, version), f"point {id}: not the vector of {version}"
    return version
