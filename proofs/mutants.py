"""Known bugs of vecdb, to be planted: a proof that does not find them proves nothing.

A bug stands in the place of something of vecdb, by its name. A name that is not there is an error
(``tests/unit/test_mutants.py`` plants all of them): a bug that is planted nowhere is found by none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Where = TypeVar("Where")

_ABSENT = object()
_replaced: list[tuple[Any, str, Any]] = []
"""Owner, name, and what was there before: ``_ABSENT`` where it was inherited."""


def put(owner: Any, name: str, bug: Any) -> None:
    """Put a bug in the place of what a module or class has under this name."""
    if not hasattr(owner, name):
        raise AttributeError(f"{owner.__name__} has no {name} that a bug could replace")
    _replaced.append((owner, name, vars(owner).get(name, _ABSENT)))
    setattr(owner, name, bug)


@dataclass(frozen=True)
class Mutant(Generic[Where]):
    """A bug, and where it must show."""

    plant: Callable[[], None]
    """Puts the bug in its place, once; its docstring says in a line what the bug is."""
    shown_by: Where

    @property
    def what(self) -> str:
        """One line."""
        return (self.plant.__doc__ or "").strip()

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The bug is there until the end of the block."""
        before = len(_replaced)
        self.plant()
        try:
            yield
        finally:
            while len(_replaced) > before:
                owner, name, was = _replaced.pop()
                if was is _ABSENT:
                    delattr(owner, name)
                else:
                    setattr(owner, name, was)
