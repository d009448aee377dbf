"""Progress: a bar on standard error, or a function of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vecdb.exchange.columns import Tick

Progress = bool | Callable[[int, int | None], object]
"""True shows a bar; a function is called with points done and points in all, if that is known."""


@contextmanager
def ticking(progress: Progress, what: str, total: int | None) -> Iterator[Tick]:
    """A step of work, which says how many more points are done."""
    if progress is False:
        yield lambda count: None
    elif progress is True:
        from tqdm import tqdm

        with tqdm(total=total, desc=what, unit=" points", unit_scale=True) as bar:
            yield bar.update  # type: ignore[misc]  # it takes an int, too
    else:
        done = 0

        def tick(count: int) -> None:
            nonlocal done
            done += count
            progress(done, total)

        yield tick
