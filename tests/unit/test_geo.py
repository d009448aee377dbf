"""Places in areas: qdrant_client's local mode as oracle, arrays and single places alike."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from qdrant_client.http.models import models as theirs
from qdrant_client.local import payload_filters

from vecdb.errors import InvalidInputError
from vecdb.models import GeoBoundingBox, GeoPolygon, GeoRadius, coerce
from vecdb.payload.geo import (
    area_test,
    distance,
    place,
    within_box,
    within_polygon,
    within_radius,
)

BERLIN = {"lon": 13.405, "lat": 52.52}
MANY = {GeoBoundingBox: within_box, GeoRadius: within_radius, GeoPolygon: within_polygon}


def ring(*corners: tuple[float, float]) -> dict[str, Any]:
    return {"points": [{"lon": lon, "lat": lat} for lon, lat in (*corners, corners[0])]}


SQUARE = ring((0, 0), (10, 0), (10, 10), (0, 10))
BOX = {"top_left": {"lon": 0, "lat": 10}, "bottom_right": {"lon": 10, "lat": 0}}


def has(kind: type, area: Any, lon: float, lat: float) -> bool:
    """Whether an area has a place; a single one and arrays must agree."""
    read = coerce(kind, area)
    [many] = MANY[kind](read, np.array([lon]), np.array([lat]))
    single: bool = area_test(read)(lon, lat)
    assert single is bool(many)
    return single


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"lon": 1, "lat": 2.5}, (1.0, 2.5)),
        ({"lon": 1.0, "lat": 2, "name": "x"}, (1.0, 2.0)),
        ({"lon": 400, "lat": -95}, (400.0, -95.0)),  # as it was stored
        ({"lon": 1}, None),
        ({"lon": "1", "lat": 2}, None),
        ({"lon": True, "lat": 2}, None),
        ({"lon": math.nan, "lat": 2}, None),
        ({"lon": 1, "lat": math.inf}, None),
        ([1, 2], None),
        (None, None),
    ],
)
def test_a_place_has_two_finite_numbers(value: Any, expected: Any) -> None:
    assert place(value) == expected


@pytest.mark.parametrize(
    ("lon", "lat", "inside"),
    [
        (5, 5, True),
        (0, 5, False),  # on the border
        (10, 5, False),
        (5, 10, False),
        (10, 10, False),
        (11, 5, False),
        (1e-9, 1e-9, True),
    ],
)
def test_no_area_has_its_border(lon: float, lat: float, inside: bool) -> None:
    assert has(GeoBoundingBox, BOX, lon, lat) is inside
    assert has(GeoPolygon, {"exterior": SQUARE}, lon, lat) is inside
    clockwise = {"exterior": {"points": SQUARE["points"][::-1]}}
    assert has(GeoPolygon, clockwise, lon, lat) is inside


def test_a_box_may_go_across_the_antimeridian() -> None:
    across = {"top_left": {"lon": 170, "lat": 5}, "bottom_right": {"lon": -170, "lat": -5}}
    assert [has(GeoBoundingBox, across, lon, 0) for lon in (175, 180, -180, -175)] == [True] * 4
    assert not any(has(GeoBoundingBox, across, lon, 0) for lon in (170, -170, 0, 169))
    upside_down = {"top_left": {"lon": 0, "lat": 0}, "bottom_right": {"lon": 10, "lat": 10}}
    assert not has(GeoBoundingBox, upside_down, 5, 5)


def test_a_hole_has_its_border() -> None:
    hole = ring((4, 4), (6, 4), (6, 6), (4, 6))
    area = {"exterior": SQUARE, "interiors": [hole, ring((8, 8), (9, 8), (9, 9))]}
    outside = [(5, 5), (4, 4), (6, 5), (5, 4), (8.7, 8.3), (11, 11)]
    assert not any(has(GeoPolygon, area, *each) for each in outside)
    assert all(has(GeoPolygon, area, *each) for each in [(5, 2), (3.9, 4), (8.2, 8.8)])


def test_no_area_has_what_is_no_place() -> None:
    lon, lat = np.array([math.nan, 5, math.nan, 5]), np.array([5, math.nan, math.nan, 5])
    areas = [
        (GeoBoundingBox, BOX),
        (GeoBoundingBox, {"top_left": BOX["bottom_right"] | {"lat": 9}, "bottom_right": BERLIN}),
        (GeoRadius, {"center": {"lon": 5, "lat": 5}, "radius": 1e9}),
        (GeoPolygon, {"exterior": SQUARE, "interiors": [ring((8, 8), (9, 8), (9, 9))]}),
    ]
    for kind, area in areas:
        assert not MANY[kind](coerce(kind, area), lon, lat)[:3].any()


def test_distances_are_those_of_a_sphere() -> None:
    assert distance(13.405, 52.52, 13.405, 52.52) == 0
    assert distance(37.6173, 55.7558, -0.1278, 51.5074) == pytest.approx(2_500_000, rel=0.01)
    assert distance(0, 0, 180, 0) == pytest.approx(math.pi * 6_371_008.8)
    assert distance(0, 90, 77, -90) == pytest.approx(math.pi * 6_371_008.8)
    assert distance(180, 10, -180, 10) == pytest.approx(0, abs=1e-6)


def test_a_circle_ends_before_its_radius() -> None:
    radius = distance(13.5, 52.5, BERLIN["lon"], BERLIN["lat"])
    assert not has(GeoRadius, {"center": BERLIN, "radius": radius}, 13.5, 52.5)
    above = math.nextafter(radius, math.inf)
    assert has(GeoRadius, {"center": BERLIN, "radius": above}, 13.5, 52.5)
    assert not has(GeoRadius, {"center": BERLIN, "radius": 0}, 13.405, 52.52)


def test_arrays_and_single_places_agree_on_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, 500), rng.uniform(-90, 90, 500)
    for k in range(100):
        center = {"lon": float(lon[k - 1]), "lat": float(lat[k - 1])}
        radius = distance(float(lon[k]), float(lat[k]), center["lon"], center["lat"])
        circle = coerce(GeoRadius, {"center": center, "radius": radius})
        single = area_test(circle)
        many = within_radius(circle, lon, lat)
        assert many.tolist() == [
            single(*each) for each in zip(lon.tolist(), lat.tolist(), strict=True)
        ]


def test_areas_are_those_of_local_mode() -> None:
    """On a grid, so that many places are on borders and corners."""
    rng = random.Random(5)

    def point(step: float = 1) -> dict[str, float]:
        return {"lon": rng.randint(-4, 4) * step, "lat": rng.randint(-4, 4) * step}

    def line() -> dict[str, Any]:
        corners = [point() for _ in range(rng.randint(3, 6))]
        return {"points": [*corners, corners[0]]}

    compared = inside = 0
    for _ in range(400):
        areas: list[tuple[type, Any, Any, Any]] = [
            (
                GeoBoundingBox,
                {"top_left": point(), "bottom_right": point()},
                theirs.GeoBoundingBox,
                payload_filters.check_geo_bounding_box,
            ),
            (
                GeoRadius,
                {"center": point(), "radius": rng.uniform(0, 900_000)},
                theirs.GeoRadius,
                payload_filters.check_geo_radius,
            ),
            (
                GeoPolygon,
                {"exterior": line(), "interiors": [line() for _ in range(rng.randint(0, 2))]},
                theirs.GeoPolygon,
                payload_filters.check_geo_polygon,
            ),
        ]
        for kind, area, their_kind, check in areas:
            read = coerce(kind, area)
            wanted = their_kind(**area)
            places = [point(0.5) for _ in range(25)]
            expected = [check(wanted, each) for each in places]
            single = area_test(read)
            assert [single(each["lon"], each["lat"]) for each in places] == expected, area
            lon, lat = (np.array([each[name] for each in places]) for name in ("lon", "lat"))
            assert MANY[kind](read, lon, lat).tolist() == expected, area
            compared, inside = compared + len(places), inside + sum(expected)
    assert compared == 30_000
    assert inside > 3_000


@pytest.mark.parametrize(
    ("kind", "area", "message"),
    [
        (
            GeoRadius,
            {"center": {"lon": 0, "lat": 91}, "radius": 1},
            r"center\.lat: expected a number from -90 to 90, got 91\.0 \(float\)",
        ),
        (
            GeoRadius,
            {"center": {"lon": 0, "lat": 1}, "radius": -1},
            r"radius: expected a number >= 0(\.0)?, got -1",  # by the version of msgspec
        ),
        (
            GeoBoundingBox,
            {"top_left": {"lon": -181.5, "lat": 0}, "bottom_right": BERLIN},
            r"top_left\.lon: expected a number from -180 to 180, got -181\.5",
        ),
        (
            GeoBoundingBox,
            {"top_left": {"lon": math.nan, "lat": 0}, "bottom_right": BERLIN},
            r"top_left\.lon: expected a number from -180 to 180, got nan",
        ),
        (GeoBoundingBox, {"top_left": BERLIN}, "missing field 'bottom_right'"),
        (
            GeoPolygon,
            {"exterior": {"points": [BERLIN, BERLIN]}},
            r"exterior: expected at least 4 points, of which the last is the first, got 2",
        ),
        (
            GeoPolygon,
            {"exterior": SQUARE, "interiors": [{"points": SQUARE["points"][:4]}]},
            r"interiors\[0\]: expected a closed line, whose last point is the first",
        ),
    ],
)
def test_areas_that_are_none_are_refused(kind: type, area: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        coerce(kind, area)
