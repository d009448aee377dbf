"""Drawing: payloads and filters by chance, of every kind that there is.

The two are made of the same few values, so that a filter nearly always tells some points from
others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from proofs.model.meaning import MOMENTS, Filter

FIELDS = ("n", "a", "tags", "deep.x", "words", "at", "when", "parts[].n", "parts[].words")
"""Paths that payloads have values at, and indexes are of."""
_PATHS = (*FIELDS, "deep", "tags[]", "tags[0]", "words[1]", "parts", "parts[].at", "none")
_BELOW = ("n", "words", "at")
"""Of the objects in ``parts``."""

_INTEGERS = (*range(8), 2**53, 2**53 + 1, 2**62, 2**63 + 5)
_NUMBERS = (*_INTEGERS, -1, 2.5, 3.0, float(2**53), 2.0**63, -1e300)
_WORDS = ("one", "two", "Three", "ONE", "ä", "Äh", "x1", "7")
_LONG = "one " * 80
"""Longer than the strings that a column keeps."""
_KEYWORDS = ("x", "y", "z", "ä\0", "", "one", "one two", _LONG, "text " * 20, *MOMENTS)
_LON, _LAT = (-179.5, -10, 0, 0.5, 8, 13.5, 179), (-89, -8, 0, 0.5, 9, 52.5)
_RADII = (0, 1, 70_000.5, 1_234_567.8, 9_000_000.3, 21_000_000)
_BOUNDS = (("gte", "lt"), ("gt", "lte"), ("gte",), ("lt",), ("gte", "lte"), ())


def random_payload(rng: Random) -> dict[str, Any]:
    """JSON of every kind, with keys that the filters ask for."""
    payload: dict[str, Any] = {"n": rng.randrange(8)}
    if rng.random() < 0.5:
        payload["a"] = rng.choice(("x", "y", "ä\0", 1.0, True, None))
    if rng.random() < 0.3:
        payload["tags"] = rng.sample(("x", "y", "z", 1, 2.5, None), rng.randrange(4))
    if rng.random() < 0.2:
        payload["deep"] = {"x": rng.choice(([1, {"y": None}], 2**62, "text " * 20))}
    if rng.random() < 0.1:
        payload["n"] = rng.choice(_NUMBERS)
    if rng.random() < 0.3:
        payload["words"] = _some(rng, _text)
    if rng.random() < 0.3:
        payload["at"] = _some(rng, _place)
    if rng.random() < 0.3:
        payload["when"] = _some(rng, lambda rng: rng.choice([*MOMENTS, "soon", 3]))
    if rng.random() < 0.3:
        payload["parts"] = [_part(rng) for _ in range(rng.randrange(4))]
    return payload


def _some(rng: Random, one: Callable[[Random], Any]) -> Any:
    """One, or an array of them."""
    return one(rng) if rng.random() < 0.7 else [one(rng) for _ in range(rng.randrange(4))]


def _text(rng: Random) -> Any:
    if rng.random() < 0.1:
        return rng.choice((_LONG, "", None, 7))
    return rng.choice((" ", ", ", "-")).join(rng.choices(_WORDS, k=rng.randint(1, 4)))


def random_text(rng: Random) -> str:
    """A text to look for; of a word that there is not, too."""
    return " ".join(rng.choices((*_WORDS, "none"), k=rng.randint(1, 3)))


def _place(rng: Random) -> Any:
    if rng.random() < 0.1:
        return rng.choice(("nowhere", {"lon": 1}, {"lon": "1", "lat": 2}, {"lon": True, "lat": 2}))
    return {"lon": rng.choice(_LON), "lat": rng.choice(_LAT)}


def _part(rng: Random) -> Any:
    if rng.random() < 0.1:
        return rng.choice((None, 3, "one", [{"n": 3}]))
    part = {"n": _some(rng, lambda rng: rng.randrange(4)), "words": _some(rng, _text)}
    if rng.random() < 0.5:
        part["at"] = _place(rng)
    return {name: value for name, value in part.items() if rng.random() < 0.8}


# -- filters ---------------------------------------------------------------------------------------


def random_conditions(rng: Random, ids: Sequence[Any], name: str) -> Filter:
    """A filter of a few conditions. ``ids`` and ``name``: for those about points."""
    filter: Filter = {"must": [_condition(rng, ids, name, 2)]}
    if rng.random() < 0.4:
        filter["must_not"] = [_condition(rng, ids, name, 1)]
    if rng.random() < 0.2:
        filter = {"should": [filter, _condition(rng, ids, name, 1)]}
    if rng.random() < 0.1:
        several = [_condition(rng, ids, name, 1) for _ in range(rng.randint(1, 4))]
        filter["min_should"] = {"conditions": several, "min_count": rng.randint(1, 3)}
    return filter


def _condition(rng: Random, ids: Sequence[Any], name: str, depth: int) -> Filter:
    kind = rng.random()
    if kind < 0.1:
        return {"has_id": list(ids)}
    if kind < 0.14:
        return {"has_vector": name}
    if kind < 0.2:
        total = rng.choice((1, 2, 3, 7))
        return {"slice": {"total": total, "index": rng.randrange(total)}}
    if kind < 0.3:
        return {"nested": {"key": rng.choice(("parts", "parts[]", "tags")), "filter": _inner(rng)}}
    if kind < 0.36 and depth:
        clause = rng.choice(("must", "should", "must_not"))
        several = [_condition(rng, ids, name, depth - 1) for _ in range(rng.randint(1, 3))]
        return {clause: several}
    return field_condition(rng, _PATHS)


def _inner(rng: Random) -> Filter:
    clauses = rng.sample(("must", "should", "must_not"), rng.choice((1, 1, 2)))
    return {
        clause: [field_condition(rng, _BELOW) for _ in range(rng.randint(1, 2))]
        for clause in clauses
    }


def field_condition(rng: Random, paths: Sequence[str] = _PATHS) -> Filter:
    """A test of one of some fields, mostly of one that has such values."""
    kinds, make = rng.choice(_TESTS)
    fitting = [path for path in paths if path.rpartition(".")[2] in kinds]
    key = rng.choice(fitting if fitting and rng.random() < 0.8 else paths)
    test = make(rng)
    if rng.random() < 0.5 and test.keys() <= {"is_empty", "is_null"} and True in test.values():
        return {name: {"key": key} for name in test}
    return {"key": key, **test}


def _value(rng: Random) -> Filter:
    values = (*range(8), True, False, *_KEYWORDS, rng.choice(_INTEGERS))
    return {"match": {"value": rng.choice(values)}}


def _listed(rng: Random) -> Filter:
    values = rng.choice((_INTEGERS, range(4), _KEYWORDS, ("x", "z")))
    return {"match": {rng.choice(("any", "except")): rng.sample(values, rng.randint(0, 2))}}


def _tokens(rng: Random) -> Filter:
    asked = rng.choice(("", " - ", *[" ".join(rng.choices(_WORDS, k=rng.randint(1, 3)))] * 8))
    return {"match": {rng.choice(("text", "text_any", "phrase")): asked}}


def _characters(rng: Random) -> Filter:
    asked = rng.choice(("", "o", "on", "ne ", "one", "Th", "2024-05-31", "ä", "text ", " one one"))
    return {"match": {rng.choice(("prefix", "substring")): asked}}


def _bounds(rng: Random, values: Sequence[Any]) -> Filter:
    return {name: rng.choice(values) for name in rng.choice(_BOUNDS)}


def _dates(rng: Random) -> Filter:
    return {"range": _bounds(rng, list(MOMENTS)) or {"gte": "2024-05-31"}}


def _numbers(rng: Random) -> Filter:
    return {"range": _bounds(rng, (*range(8), *_NUMBERS, 0.5, 2.0**62))}


def _count(rng: Random) -> Filter:
    return {"values_count": _bounds(rng, range(4))}


def _nothing(rng: Random) -> Filter:
    return {rng.choice(("is_empty", "is_null")): rng.random() < 0.7}


def _corner(lon: float, lat: float) -> dict[str, float]:
    return {"lon": lon, "lat": lat}


def _box(rng: Random) -> Filter:
    south, north = sorted(rng.sample(_LAT, 2))
    west, east = rng.choice(_LON), rng.choice(_LON)
    corners = {"top_left": _corner(west, north), "bottom_right": _corner(east, south)}
    return {"geo_bounding_box": corners}


def _circle(rng: Random) -> Filter:
    center = _corner(rng.choice(_LON), rng.choice(_LAT))
    return {"geo_radius": {"center": center, "radius": rng.choice(_RADII)}}


def _polygon(rng: Random) -> Filter:
    lon, lat = rng.choice(_LON[1:-1]), rng.choice(_LAT[1:-1])
    polygon: Filter = {"exterior": _ring(rng, lon, lat, 32)}
    if rng.random() < 0.4:
        polygon["interiors"] = [_ring(rng, lon, lat, 8)]
    return {"geo_polygon": polygon}


def _ring(rng: Random, lon: float, lat: float, size: int) -> Filter:
    """A line around a place that does not cross itself, of corners with few digits; some go through
    places that there are."""
    around = sorted(rng.sample(range(12), rng.randint(3, 6)))
    if max((b - a) % 12 for a, b in zip(around, [*around[1:], around[0]], strict=True)) >= 6:
        around = [0, 4, 8]
    corners = []
    for hour in around:
        angle, far = math.radians(30 * hour), rng.choice((size / 4, size / 2, size))
        corners.append(
            _corner(
                lon + round(2 * far * math.cos(angle)) / 2,
                lat + round(2 * far * math.sin(angle)) / 2,
            )
        )
    if rng.random() < 0.5:
        corners.reverse()
    return {"points": [*corners, corners[0]]}


_TESTS: Sequence[tuple[tuple[str, ...], Callable[[Random], Filter]]] = (
    (("n", "a", "tags", "x", "words"), _value),
    (("n", "a", "tags", "x", "words"), _listed),
    (("n",), _numbers),
    (("n",), _numbers),
    (("words", "tags", "x"), _tokens),
    (("words", "tags", "x", "when"), _characters),
    (("when",), _dates),
    (("tags", "parts", "words", "n", "when"), _count),
    (("a", "tags", "words", "parts", "deep"), _nothing),
    (("at",), _box),
    (("at",), _circle),
    (("at",), _polygon),
)
"""The last names of the paths that have such values, and the tests."""
