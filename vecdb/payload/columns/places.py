"""Places: longitudes and latitudes, sorted by latitude, so that an area takes a slice of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.models.conditions import GeoBoundingBox, GeoPolygon, GeoRadius
from vecdb.payload.columns.body import Array, Reader, Writer, narrowest
from vecdb.payload.columns.three_valued import Bits
from vecdb.payload.geo import EARTH_RADIUS, Degrees, within_box, within_polygon, within_radius
from vecdb.storage.format import DamageError, pack_bits

Area = GeoBoundingBox | GeoRadius | GeoPolygon

_MARGIN = 1e-6
"""Degrees, a tenth of a metre: more than the arithmetic of distances errs by."""


class Places:
    """The places that ``rows`` rows have; a row may have several."""

    def __init__(self, rows: int, lon: Degrees, lat: Degrees, owners: Array) -> None:
        self.rows = rows
        self._lon, self._lat = lon, lat
        self._owners = owners  # rows

    @classmethod
    def of(cls, rows: int, places: Degrees, owners: npt.NDArray[np.int64]) -> Places:
        """Of places ``float64 (n, 2)``, longitudes first, and whose they are."""
        order = np.argsort(places[:, 1], kind="stable")
        lon, lat = np.ascontiguousarray(places[order].T)
        return cls(rows, lon, lat, owners[order].astype(narrowest(max(rows - 1, 0))))

    def within(self, area: Area) -> Bits:
        """Bits of the rows that have a place in an area. Raises DamageError."""
        south, north = _latitudes(area)
        # What is no place on Earth may be in an area all the same: trigonometry knows some more.
        on_earth = not len(self._lat) or -90 <= self._lat[0] <= self._lat[-1] <= 90
        if not on_earth:
            south, north = -math.inf, math.inf
        begin = int(np.searchsorted(self._lat, south, side="left"))
        end = int(np.searchsorted(self._lat, north, side="right"))
        lon, lat, owners = self._lon[begin:end], self._lat[begin:end], self._owners[begin:end]
        if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
            raise DamageError("a column has a place that is none")
        if on_earth and isinstance(area, GeoRadius) and (reach := _reach(area)) < 180:
            apart = np.abs((lon - (area.center.lon - 180)) % 360 - 180)
            near = (apart <= reach) | (np.abs(lon) > 360)
            lon, lat, owners = lon[near], lat[near], owners[near]
        flags = np.zeros(self.rows, dtype=np.bool_)
        with np.errstate(over="ignore", invalid="ignore"):  # as for a single place
            owners = owners[_test(area, lon, lat)]
        if len(owners) and int(owners.max()) >= self.rows:
            raise DamageError(f"a column has a place beyond its {self.rows} rows")
        flags[owners] = True
        return pack_bits(flags)

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        return self._lon.nbytes + self._lat.nbytes + self._owners.nbytes

    def pack(self, writer: Writer) -> list[Any]:
        """The facts that ``read`` reads."""
        return [writer.put(self._lon), writer.put(self._lat), writer.put(self._owners)]

    @classmethod
    def read(cls, facts: Sequence[Any], reader: Reader, rows: int) -> Places:
        """Raises DamageError."""
        lon, lat = (reader.keys(each).view(np.float64) for each in facts[:2])
        if len(lon) != len(lat):
            raise DamageError(f"{len(lon)} longitudes and {len(lat)} latitudes")
        return cls(rows, lon, lat, reader.array(facts[2], len(lon)))

    def verify(self) -> None:
        """Raises DamageError for what is no place, for a row beyond the last, and a wrong order."""
        finite = np.isfinite(self._lon).all() and np.isfinite(self._lat).all()
        if not finite or (self._lat[1:] < self._lat[:-1]).any():
            raise DamageError("a column has places that are not sorted")
        if int(self._owners.max(initial=0)) >= max(self.rows, 1):
            raise DamageError(f"a column has a place beyond its {self.rows} rows")


def _test(area: Area, lon: Degrees, lat: Degrees) -> npt.NDArray[np.bool_]:
    if isinstance(area, GeoRadius):
        return within_radius(area, lon, lat)
    tested: npt.NDArray[np.bool_]
    if isinstance(area, GeoBoundingBox):
        tested = within_box(area, lon, lat)
    else:
        tested = within_polygon(area, lon, lat)
    return tested


def _latitudes(area: Area) -> tuple[float, float]:
    """Between which an area lies."""
    if isinstance(area, GeoBoundingBox):
        return area.bottom_right.lat, area.top_left.lat
    if isinstance(area, GeoPolygon):
        of_points = [point.lat for point in area.exterior.points]
        return min(of_points), max(of_points)
    degrees = math.degrees(area.radius / EARTH_RADIUS) + _MARGIN
    return area.center.lat - degrees, area.center.lat + degrees


def _reach(circle: GeoRadius) -> float:
    """How far a circle reaches to the east and to the west, in degrees; 180 if it has a pole."""
    radius, lat = circle.radius / EARTH_RADIUS, math.radians(circle.center.lat)
    if radius + abs(lat) >= math.pi / 2 - 1e-6:
        return 180.0
    return math.degrees(math.asin(min(math.sin(radius) / math.cos(lat), 1.0))) + 2 * _MARGIN
