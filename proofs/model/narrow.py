"""Originals of smaller datatypes in the model: what is left of numbers, as float32.

Not under Cosine: numbers that are scaled before they are rounded may come to either side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

NARROW = {
    f"{datatype} {distance}": (datatype, distance)
    for datatype in ("float16", "uint8")
    for distance in ("Dot", "Euclid", "Manhattan")
}
"""What stands for a distance where originals are narrow: the datatype and the distance."""


def plain(distance: str) -> str:
    """The distance, whatever originals are kept in."""
    return NARROW[distance][1] if distance in NARROW else distance


def rounded(vector: Floats, distance: str) -> Floats:
    """What is kept of a vector."""
    datatype = NARROW[distance][0] if distance in NARROW else "float32"
    if datatype == "uint8":
        return np.clip(np.trunc(vector), 0, 255)
    return vector.astype(datatype).astype(np.float32)


def drawn(vector: Floats, distance: str) -> Floats:
    """A vector near 0, moved to where bytes are, and somewhat beyond."""
    in_bytes = distance in NARROW and NARROW[distance][0] == "uint8"
    return vector * np.float32(60) + np.float32(100) if in_bytes else vector
