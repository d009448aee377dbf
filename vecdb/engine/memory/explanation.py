"""A memory report in words."""

from __future__ import annotations

from collections.abc import Mapping

_LITTLE = 1 << 16


def size(count: int) -> str:
    """Bytes in words, by thousands: ``7.68 MB``."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def explained(parts: Mapping[str, Mapping[str, int]]) -> str:
    """What of a collection is where: "originals 88.2 MB mapped, 3.10 MB resident; codes 22.6 MB
    pinned". Parts that have less than 64 KiB in memory are not spoken of."""
    told = [
        f"{name.replace('_', ' ')} {', '.join(_where(figures))}"
        for name, figures in parts.items()
        if figures["anonymous"] + figures["mapped"] >= _LITTLE
    ]
    return "; ".join(told) or "next to nothing in memory"


def _where(figures: Mapping[str, int]) -> list[str]:
    told = []
    if figures["anonymous"]:
        # What is in files was put into memory; the rest is there because nowhere else is it.
        told.append(f"{size(figures['anonymous'])} {'pinned' if figures['file'] else 'in memory'}")
    if figures["mapped"]:
        told.append(f"{size(figures['mapped'])} mapped")
        told.append(f"{size(figures['resident'])} resident")
    return told
