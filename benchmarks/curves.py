"""Recall against time: measured slice by slice in turn, and what is read off the curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.common import Run
from benchmarks.data import Data
from benchmarks.process import Failed, Process

TARGETS = (0.95, 0.98, 0.99)
Fail = Callable[[str, Failed], None]
Point = dict[str, Any]


def measure(
    run: Run, data: Data, workers: dict[str, Process], efforts: dict[str, list[Any]], fail: Fail
) -> dict[str, list[Point]]:
    """The curve of each system: a point an effort, with recall, p50 and p99 in µs.

    First every query with every effort, which gives recall and warms up. Then rounds: each worker
    in turn is asked for a slice of queries at each effort that no other effort clearly beats, and
    each effort gets another slice: what a query needs is in the caches after it. The next round
    has the next slices and another order.
    """
    curves: dict[str, list[Point]] = {}
    for label, worker in list(workers.items()):
        try:
            curves[label] = _first_pass(run, data, worker, efforts[label])
        except Failed as failed:
            fail(label, failed)
    rounds, slice_ = run.times(20, 2), run.times(100, 10)
    for number in range(rounds):
        order = list(curves)
        order = order[number % len(order) :] + order[: number % len(order)] if order else []
        for label in order:
            try:
                for index, point in enumerate(curves[label]):
                    point["rounds"].append(
                        workers[label].ask(
                            "time",
                            effort=point["effort"],
                            start=(number + index) * slice_,
                            count=slice_,
                            warm=max(1, slice_ // 10),
                        )
                    )
            except Failed as failed:
                del curves[label]
                fail(label, failed)
        run.say(f"round {number + 1} of {rounds}: {len(curves)} systems")
    for curve in curves.values():
        for point in curve:
            times = np.array(point.pop("rounds"), dtype=np.float64) / 1e3
            point["p50"] = float(np.median(np.median(times, axis=1)))
            point["p99"] = float(np.median(np.percentile(times, 99, axis=1)))
            point["rounds_p50"] = [float(value) for value in np.median(times, axis=1)]
    return curves


def _first_pass(run: Run, data: Data, worker: Process, efforts: list[Any]) -> list[Point]:
    points: list[Point] = []
    for effort in efforts:
        if points and isinstance(effort, (int, float)) and points[-1]["recall"] >= 0.9999:
            break  # more effort, nothing to gain
        answer = worker.ask("find", effort=effort, start=0, count=len(data.queries))
        points.append(
            {
                "effort": effort,
                "recall": data.recall(answer["found"]),
                "first": float(np.median(answer["ns"])),
                "rounds": [],
            }
        )
    kept = [one for one in points if not any(_beats(other, one) for other in points)]
    for point in points:
        del point["first"]
    run.say(f"{worker.label}: recall {kept[0]['recall']:.3f} to {kept[-1]['recall']:.3f}")
    return kept


def _beats(one: Point, other: Point) -> bool:
    return bool(one["recall"] >= other["recall"] and one["first"] < 0.8 * other["first"])


def pareto(curve: Sequence[Point], figure: str = "p50") -> list[Point]:
    """The points that no faster one equals in recall, fastest first."""
    best: list[Point] = []
    for point in sorted(curve, key=lambda point: (point[figure], -point["recall"])):
        if not best or point["recall"] > best[-1]["recall"]:
            best.append(point)
    return best


def at_recall(curve: Sequence[Point], target: float, figure: str = "p50") -> float | None:
    """The time at a recall, linear between the two neighbouring points of the Pareto curve.

    The fastest point's time if even that is better; None if the curve does not reach it.
    """
    last: Point | None = None
    for point in pareto(curve, figure):
        if point["recall"] >= target:
            if last is None:
                return float(point[figure])
            share = (target - last["recall"]) / (point["recall"] - last["recall"])
            return float(last[figure] + share * (point[figure] - last[figure]))
        last = point
    return None


def usual(curve: Sequence[Point], target: float = TARGETS[0]) -> Point:
    """The fastest measured point with that recall; the best one if none has it."""
    front = pareto(curve)
    return next((point for point in front if point["recall"] >= target), front[-1])


def summary(curve: Sequence[Point]) -> dict[str, Any]:
    """What the tables show of a curve."""
    return {
        "p50": {str(target): at_recall(curve, target) for target in TARGETS},
        "p99": {str(target): at_recall(curve, target, "p99") for target in TARGETS},
        "best_recall": max(point["recall"] for point in curve),
        "usual": usual(curve)["effort"],
    }
