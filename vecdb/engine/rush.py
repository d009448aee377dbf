"""Rush: whether points come faster than an index of them could be built."""

from __future__ import annotations

from msgspec import Struct

_INDEX_PACE = 16 << 20  # bytes of points a second: an index of them is built about as fast


class Rush(Struct):
    """Tells whether points come faster than an index of them could be built. What is written fills
    a bucket that leaks at that pace; it holds what leaks out in 3 seconds."""

    _fill: float = 0.0
    _at: float = 0.0

    def add(self, size: int, now: float) -> None:
        """So many bytes were written."""
        self._fill = min(self._level(now) + size, 3.0 * _INDEX_PACE)
        self._at = now

    def held_up(self, since: float, now: float) -> None:
        """Nothing could be written meanwhile, so this time is no pause."""
        self._fill, self._at = self._level(since), max(self._at, now)

    def left(self, now: float) -> float:
        """Seconds until it is over if nothing more is written; 0 when there is none."""
        return max(0.0, self._level(now) / _INDEX_PACE - 0.5)

    def _level(self, now: float) -> float:
        return max(0.0, self._fill - (now - self._at) * _INDEX_PACE)
