"""Multivectors in the model: arrays of several rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from proofs.model.narrow import NARROW

MANY = {f"Many {name}": name for name in ("Cosine", "Dot", "Euclid", "Manhattan")}
"""What stands for a distance where vectors are multivectors, and their distance."""
_MAX_SIM = {"comparator": "max_sim"}

Pairs = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[np.float64]]
"""How near rows are to one vector, larger is nearer."""


def params_of(dim: int, distance: str) -> dict[str, Any]:
    """What a collection is told of vectors that are not sparse."""
    if distance in NARROW:
        datatype, distance = NARROW[distance]
        return {"size": dim, "distance": distance, "datatype": datatype}
    if distance not in MANY:
        return {"size": dim, "distance": distance}
    return {"size": dim, "distance": MANY[distance], "multivector_config": _MAX_SIM}


def kind_of(params: Mapping[str, Any]) -> list[Any]:
    """The inverse: dimension and distance."""
    first = "Many" if params.get("multivector_config") is not None else params.get("datatype")
    return [params["size"], f"{first} {params['distance']}" if first else params["distance"]]


def max_sims(
    near: Pairs, rows: Sequence[npt.NDArray[Any]], query: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """How near each multivector is to another one."""
    best = [np.stack([near(row, token) for token in query]).max(axis=1).sum() for row in rows]
    return np.array(best, dtype=np.float64)
