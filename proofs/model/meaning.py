"""Meaning: which points match a filter in its JSON form; in plain Python, one after the other.

What is drawn (``drawing.py``) keeps away from what only the documentation of a library decides:
words are of letters whose case is simple, and a date is one of ``MOMENTS``.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Collection
from functools import cache
from itertools import pairwise
from typing import Any

Filter = dict[str, Any]
Place = tuple[float, float]

MOMENTS = {
    "2024-05-31T10:00:00Z": 1_717_149_600_000_000,
    "2024-05-31T12:00:00+02:00": 1_717_149_600_000_000,
    "2024-05-31": 1_717_113_600_000_000,
    "2024-05-31 10:00:00.25": 1_717_149_600_250_000,
    "2024-05-31T10:00:01Z": 1_717_149_601_000_000,
    "1969-12-31T23:59:59.999999Z": -1,
    "2262-01-01T00:00:00-05:00": 9_214_664_400_000_000,
}
"""The dates of payloads and filters, as microseconds since 1970."""
_EARTH = 6_371_008.8
_WORD = 1 << 64


def matches(
    filter: Filter,
    point_id: int | str,
    payload: Any,
    vectors: Collection[str],
    texts: Collection[str] = (),
    within: str = "",
) -> bool:
    """Whether a point, or an object in its payload, matches. ``texts``: the fields that have a text
    index. ``within``: the path to the object."""

    def holds(condition: Filter) -> bool:
        return _holds(condition, point_id, payload, vectors, texts, within)

    fewest = filter.get("min_should")
    return (
        all(map(holds, filter.get("must", [])))
        and (not filter.get("should") or any(map(holds, filter["should"])))
        and not any(map(holds, filter.get("must_not", [])))
        and (not fewest or sum(map(holds, fewest["conditions"])) >= fewest["min_count"])
    )


def _holds(
    condition: Filter,
    point_id: int | str,
    payload: Any,
    vectors: Collection[str],
    texts: Collection[str],
    within: str,
) -> bool:
    if "has_id" in condition:
        return point_id in condition["has_id"]
    if "has_vector" in condition:
        return condition["has_vector"] in vectors
    if "slice" in condition:
        total, index = condition["slice"]["total"], condition["slice"]["index"]
        return bool(_siphash(point_id) % total == index)
    if "nested" in condition:
        inner = condition["nested"]["filter"]
        key = condition["nested"]["key"].removesuffix("[]") + "[]"  # both mean the elements
        objects = (each for each in selected(payload, key) if isinstance(each, dict))
        below = f"{within}{key}."
        return any(matches(inner, point_id, each, vectors, texts, below) for each in objects)
    for name, test in (("is_empty", is_empty), ("is_null", _is_null)):
        if isinstance(condition.get(name), dict):
            return test(selected(payload, condition[name]["key"]))
    if "key" not in condition:
        return matches(condition, point_id, payload, vectors, texts, within)
    values = selected(payload, condition["key"])
    return _field(condition, values, f"{within}{condition['key']}" in texts)


# -- fields ----------------------------------------------------------------------------------------


def selected(payload: Any, path: str) -> list[Any]:
    """The values at a path of plain names, ``a.b``, ``a[]`` and ``a[0]``."""
    values = [payload]
    for step in path.replace("[", ".[").split("."):
        if step == "[]":
            values = [each for value in values if isinstance(value, list) for each in value]
        elif step.startswith("["):
            at = int(step[1:-1])
            values = [v[at] for v in values if isinstance(v, list) and at < len(v)]
        else:
            values = [v[step] for v in values if isinstance(v, dict) and step in v]
    return values


def elements(values: list[Any]) -> list[Any]:
    """An array stands for its elements."""
    return [each for value in values for each in (value if isinstance(value, list) else [value])]


def is_empty(values: list[Any]) -> bool:
    """Whether nothing is at a path."""
    return all(value is None or value == [] for value in values)


def _is_null(values: list[Any]) -> bool:
    return any(value is None for value in elements(values))


def _field(condition: Filter, values: list[Any], has_text_index: bool) -> bool:
    """A test of the values at a path."""
    [(name, asked)] = [(name, value) for name, value in condition.items() if name != "key"]
    if name == "is_empty":
        return is_empty(values) is asked
    if name == "is_null":
        return _is_null(values) is asked
    if name == "values_count":
        counts = [len(v) if isinstance(v, list) else int(v is not None) for v in values or [None]]
        return any(_between(count, asked) for count in counts)
    if name == "match" and asked.keys() & {"text", "text_any", "phrase"}:
        found = [value for value in elements(values) if isinstance(value, str)]
        documents = [found] if has_text_index else [[text] for text in found]
        return any(_of_document(asked, document) for document in documents)
    test = {
        "match": _match,
        "range": _range,
        "geo_bounding_box": _in_box,
        "geo_radius": _in_circle,
        "geo_polygon": _in_polygon,
    }[name]
    return any(test(value, asked) for value in elements(values))


def _match(value: Any, asked: Filter) -> bool:
    if "prefix" in asked:
        return isinstance(value, str) and value[: len(asked["prefix"])] == asked["prefix"]
    if "substring" in asked:
        return isinstance(value, str) and value.find(asked["substring"]) >= 0
    if "except" in asked:
        return value is not None and not _is_one_of(value, asked["except"])
    return _is_one_of(value, asked["any"] if "any" in asked else [asked["value"]])


def _is_one_of(value: Any, listed: list[Any]) -> bool:
    return any(type(value) is type(each) and value == each for each in listed)


def _range(value: Any, asked: Filter) -> bool:
    if any(isinstance(bound, str) for bound in asked.values()):
        bounds = {name: MOMENTS[bound] for name, bound in asked.items()}
        return isinstance(value, str) and value in MOMENTS and _between(MOMENTS[value], bounds)
    return type(value) in (int, float) and _between(value, asked)


def _between(number: float, bounds: Filter) -> bool:
    return (
        ("gt" not in bounds or number > bounds["gt"])
        and ("gte" not in bounds or number >= bounds["gte"])
        and ("lt" not in bounds or number < bounds["lt"])
        and ("lte" not in bounds or number <= bounds["lte"])
    )


# -- texts -----------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """Letters and digits in a row, in lower case."""
    return re.findall(r"[^\W_]+", text.lower())


def _of_document(asked: Filter, texts: list[str]) -> bool:
    there = {word for text in texts for word in words(text)}
    if "text_any" in asked:
        return not there.isdisjoint(words(asked["text_any"]))
    if "text" in asked:
        wanted = words(asked["text"])
        return bool(wanted) and there.issuperset(wanted)
    phrase = words(asked["phrase"])
    return bool(phrase) and any(
        phrase == row[at : at + len(phrase)] for row in map(words, texts) for at in range(len(row))
    )


# -- places ----------------------------------------------------------------------------------------


def _place(value: Any) -> Place | None:
    """(longitude, latitude), if a value is a place."""
    if not isinstance(value, dict):
        return None
    lon: Any = value.get("lon")
    lat: Any = value.get("lat")
    if type(lon) not in (int, float) or type(lat) not in (int, float):
        return None
    return float(lon), float(lat)


def _in_box(value: Any, box: Filter) -> bool:
    at = _place(value)
    if at is None:
        return False
    west, east = box["top_left"]["lon"], box["bottom_right"]["lon"]
    inside: bool = west < at[0] < east if west <= east else at[0] > west or at[0] < east
    south, north = box["bottom_right"]["lat"], box["top_left"]["lat"]
    return inside and bool(south < at[1] < north)


def _in_circle(value: Any, circle: Filter) -> bool:
    at, center = _place(value), _place(circle["center"])
    radius: float = circle["radius"]
    return at is not None and center is not None and apart(at, center) < radius


def apart(one: Place, other: Place) -> float:
    """Metres between two places, by the angle of two vectors."""
    a, b = _on_sphere(one), _on_sphere(other)
    cross = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    return _EARTH * math.atan2(math.hypot(*cross), sum(x * y for x, y in zip(a, b, strict=True)))


def _on_sphere(at: Place) -> tuple[float, float, float]:
    lon, lat = math.radians(at[0]), math.radians(at[1])
    return math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)


def _in_polygon(value: Any, polygon: Filter) -> bool:
    at = _place(value)
    if at is None or _side_of_ring(at, polygon["exterior"]) <= 0:
        return False
    return all(_side_of_ring(at, hole) < 0 for hole in polygon.get("interiors", []))


def _side_of_ring(at: Place, ring: Filter) -> int:
    """1 inside, 0 on the line, -1 outside, by how often a ray northwards leaves the ring. Corners
    and places with few digits make it exact."""
    corners = [(corner["lon"], corner["lat"]) for corner in ring["points"]]
    x, y = at
    side = -1
    for (ax, ay), (bx, by) in pairwise(corners):
        turn = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        if turn == 0 and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by):
            return 0
        if (ax <= x) != (bx <= x) and (turn < 0) == (bx > ax):
            side = -side
    return side


# -- slices ----------------------------------------------------------------------------------------


@cache
def _siphash(point_id: int | str) -> int:
    """SipHash-2-4 with a key of zeros, of the bytes of an id."""
    data = (
        point_id.to_bytes(8, "little") if isinstance(point_id, int) else uuid.UUID(point_id).bytes
    )
    state = [
        int.from_bytes(b"somepseudorandomlygeneratedbytes"[i : i + 8], "big")
        for i in (0, 8, 16, 24)
    ]
    padded = data + bytes(7) + bytes([len(data)])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        state[3] ^= word
        _rounds(state, 2)
        state[0] ^= word
    state[2] ^= 0xFF
    _rounds(state, 4)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _rounds(v: list[int], count: int) -> None:
    for _ in range(count):
        for one, other, by in ((0, 1, 13), (2, 3, 16), (0, 3, 21), (2, 1, 17)):
            v[one] = (v[one] + v[other]) % _WORD
            v[other] = _turned(v[other], by) ^ v[one]
            if by in (13, 17):
                v[one] = _turned(v[one], 32)


def _turned(word: int, by: int) -> int:
    return (word << by | word >> (64 - by)) % _WORD
