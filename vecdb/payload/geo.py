"""Geo: whether a place on Earth lies in a box, a circle or a polygon.

A place is an object with the numbers ``lon`` and ``lat``, in degrees. No area has its border:
a place exactly on it is outside, and one on the border of a hole is in the hole.

Every test is there for arrays, for columns, and for a single place. NaN, as for a value that is no
place, lies nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt

from vecdb.models.conditions import GeoBoundingBox, GeoLineString, GeoPolygon, GeoRadius

Degrees = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
# A place has two floats, many places two arrays; the arithmetic of a test is the same for both.
Number = TypeVar("Number", float, Degrees)

EARTH_RADIUS = 6_371_008.8
"""Metres: the mean radius of the IUGG (H. Moritz, Geodetic Reference System 1980)."""

_NEAR = 1e-9
"""Sines of numpy and of Python differ in the last bits. Places whose distance differs from the
radius by less than this share of it are measured by Python's, so that one test tells of all."""


def place(value: Any) -> tuple[float, float] | None:
    """Longitude and latitude of a value in a payload; None: it is no place."""
    if type(value) is not dict:
        return None
    lon, lat = value.get("lon"), value.get("lat")
    if not (_is_number(lon) and _is_number(lat)):
        return None
    return float(lon), float(lat)


def _is_number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and math.isfinite(value)  # a bool is no number


def area_test(area: GeoBoundingBox | GeoRadius | GeoPolygon) -> Callable[[float, float], bool]:
    """(longitude, latitude) -> does the area have the place?"""
    if isinstance(area, GeoRadius):
        center, radius = area.center, float(area.radius)
        return lambda lon, lat: distance(lon, lat, center.lon, center.lat) < radius
    if isinstance(area, GeoBoundingBox):
        box = area
        return lambda lon, lat: bool(within_box(box, lon, lat))
    polygon = area
    return lambda lon, lat: bool(within_polygon(polygon, lon, lat))


def within_box(box: GeoBoundingBox, lon: Number, lat: Number) -> Any:
    """Which places lie in a box: bool, or bool (n,) for float64 (n,). A box whose left side is east
    of its right side goes across the antimeridian."""
    west, east = box.top_left.lon, box.bottom_right.lon
    between = (lon > west) | (lon < east) if west > east else (lon > west) & (lon < east)
    return between & (lat < box.top_left.lat) & (lat > box.bottom_right.lat)


def within_radius(circle: GeoRadius, lon: Degrees, lat: Degrees) -> Flags:
    """Which places lie nearer to the centre than the radius, in metres: bool (n,) for float64
    (n,)."""
    center, radius = circle.center, float(circle.radius)
    at, of_center = np.radians(lat), math.radians(center.lat)
    north, east = at - of_center, np.radians(lon) - math.radians(center.lon)
    chord = np.sin(north / 2) ** 2 + np.cos(at) * math.cos(of_center) * np.sin(east / 2) ** 2
    distances = 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.minimum(chord, 1.0)))
    within: Flags = distances < radius
    for near in np.flatnonzero(np.abs(distances - radius) <= _NEAR * max(radius, 1.0)).tolist():
        within[near] = distance(float(lon[near]), float(lat[near]), center.lon, center.lat) < radius
    return within


def distance(lon: float, lat: float, other_lon: float, other_lat: float) -> float:
    """Metres between two places on a sphere, by the haversine formula."""
    at, other = math.radians(lat), math.radians(other_lat)
    north, east = at - other, math.radians(lon) - math.radians(other_lon)
    chord = math.sin(north / 2) ** 2 + math.cos(at) * math.cos(other) * math.sin(east / 2) ** 2
    return 2 * EARTH_RADIUS * math.asin(math.sqrt(min(chord, 1.0)))


def within_polygon(polygon: GeoPolygon, lon: Number, lat: Number) -> Any:
    """Which places lie in a polygon and in none of its holes: bool, or bool (n,) for float64 (n,).
    Sides are straight in degrees, and none goes across the antimeridian."""
    inside, border = _within_ring(polygon.exterior, lon, lat)
    within = inside & (border ^ True)
    for hole in polygon.interiors or []:
        inside, border = _within_ring(hole, lon, lat)
        within = within & ((inside | border) ^ True)
    return within


def _within_ring(ring: GeoLineString, lon: Number, lat: Number) -> tuple[Any, Any]:
    """Which places a ray eastwards leaves the ring from (the rule of even and odd), and which lie
    on the ring itself."""
    inside = border = lon < lon  # none, and never one that is NaN
    for one, other in zip(ring.points, ring.points[1:], strict=False):
        x, y = float(one.lon), float(one.lat)
        dx, dy = other.lon - x, other.lat - y
        side = dx * (lat - y) - dy * (lon - x)
        crosses = (y > lat) != (other.lat > lat)
        inside = inside ^ (crosses & ((side > 0) if dy > 0 else (side < 0)))
        border = border | (
            (side == 0)
            & (min(x, other.lon) <= lon)
            & (lon <= max(x, other.lon))
            & (min(y, other.lat) <= lat)
            & (lat <= max(y, other.lat))
        )
    return inside, border
