"""Formulas: compiled once, and computed for all candidates of a query at a time.

Every expression becomes a function of the candidates and of the positions of those that it is
wanted for. A product leaves out those for which it is 0 already, and a quotient those whose
numerator is: what they would need may not be there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from vecdb import models
from vecdb.engine.read.asked import Asked
from vecdb.engine.read.candidates import NOTHING, Candidates, Doubles, Positions
from vecdb.engine.read.ordered import microseconds
from vecdb.engine.read.plan import Place, Ranking, Rescored
from vecdb.engine.read.reader import condition
from vecdb.engine.read.values import Values
from vecdb.engine.view import View
from vecdb.errors import InvalidInputError
from vecdb.models.datetimes import parse_datetime
from vecdb.payload.geo import distance, place

Computed = Callable[[Candidates, Positions], Doubles]
"""The values of an expression for the candidates at some positions."""
Convert = Callable[[Any], float | None]
"""Makes a number of a value; None: it cannot."""

MAX_DEPTH = 64
"""Expressions in one another."""

_FOLDS: dict[Any, tuple[np.ufunc, float]] = {
    models.SumExpression: (np.add, 0.0),
    models.MaxExpression: (np.fmax, -math.inf),
    models.MinExpression: (np.fmin, math.inf),
}
_FUNCTIONS: dict[Any, np.ufunc] = {
    models.NegExpression: np.negative,
    models.AbsExpression: np.abs,
    models.SqrtExpression: np.sqrt,
    models.ExpExpression: np.exp,
    models.Log10Expression: np.log10,
    models.LnExpression: np.log,
    models.AcoshExpression: np.arccosh,
}
_DECAYS: dict[Any, Callable[[Doubles, float], Doubles]] = {
    models.LinDecayExpression: lambda far, midpoint: np.maximum(0.0, 1 - (1 - midpoint) * far),
    models.ExpDecayExpression: lambda far, midpoint: np.exp(math.log(midpoint) * far),
    models.GaussDecayExpression: lambda far, midpoint: np.exp(math.log(midpoint) * far * far),
}
"""By how many times the scale ``x`` is away from the target."""


def formula(view: View, query: models.FormulaQuery, asked: Asked) -> Rescored:
    """The plan of a formula. Raises InvalidInputError."""
    if not asked.prefetches:
        raise InvalidInputError(
            f"{asked.where}prefetch: expected the points to give scores to, got none"
        )
    where = f"{asked.where}query.formula"
    compiler = _Compiler(view, query.defaults or {}, f"{asked.where}query.defaults")
    computed = compiler.compiled(query.formula, where, MAX_DEPTH)

    def evaluate(view: View, rankings: list[Ranking]) -> tuple[list[Place], list[float]]:
        candidates = Candidates(view, rankings)
        everyone = np.arange(len(candidates.places))
        with np.errstate(all="ignore"):  # what is not finite is found
            scores = computed(candidates, everyone).astype(np.float32).astype(np.float64)
        return candidates.places, _finite(candidates, everyone, scores, where).tolist()

    return Rescored(
        formula=evaluate,
        threshold=asked.threshold,
        limit=asked.limit,
        offset=asked.offset,
        wanted=asked.wanted,
    )


class _Compiler:
    """One compilation, with the defaults of variables."""

    def __init__(self, view: View, defaults: dict[str, Any], where: str) -> None:
        self._view = view
        self._defaults = {
            _variable(name, f"{where}[{name!r}]"): value for name, value in defaults.items()
        }

    def compiled(self, expression: Any, where: str, depth: int) -> Computed:
        """The function that computes an expression. Raises InvalidInputError."""
        if not depth:
            raise InvalidInputError(f"{where}: nested deeper than {MAX_DEPTH} levels")
        if isinstance(expression, float):
            return lambda candidates, at: np.full(len(at), expression)
        if isinstance(expression, str):
            return self._of_variable(expression, where)
        kind, name = type(expression), expression.__struct_fields__[0]
        inner, below = getattr(expression, name), f"{where}.{name}"

        def operand(expression: Any, where: str) -> Computed:
            return self.compiled(expression, where, depth - 1)

        if kind in _FOLDS or kind is models.MultExpression:
            each = [operand(one, f"{below}[{number}]") for number, one in enumerate(inner)]
            return _product(each) if kind is models.MultExpression else _folded(each, *_FOLDS[kind])
        if kind in _FUNCTIONS:
            return _function(_FUNCTIONS[kind], operand(inner, below), name, where)
        if kind is models.DivExpression:
            left, right = (
                operand(inner.left, f"{below}.left"),
                operand(inner.right, f"{below}.right"),
            )
            return _quotient(left, right, inner.by_zero_default, where)
        if kind is models.PowExpression:
            base = operand(inner.base, f"{below}.base")
            return _power(base, operand(inner.exponent, f"{below}.exponent"), where)
        if kind in _DECAYS:
            target = 0.0 if inner.target is None else inner.target
            x = operand(inner.x, f"{below}.x")
            return _decay(_DECAYS[kind], x, operand(target, f"{below}.target"), inner)
        if kind is models.DatetimeExpression:
            moment = microseconds(inner) / 1e6
            return lambda candidates, at: np.full(len(at), moment)
        if kind is models.DatetimeKeyExpression:
            return self._of_payload(inner, "a datetime", _seconds, below)
        if kind is models.GeoDistance:
            return self._of_payload(inner.to, "a place", _metres(inner.origin), f"{below}.to")
        return self._condition(expression, where)

    def _condition(self, given: models.Condition, where: str) -> Computed:
        """1 where a condition holds, 0 elsewhere."""
        compiled = condition(models.Filter(must=given), where, self._view)
        assert compiled is not None
        return lambda candidates, at: candidates.matching(compiled)[at].astype(np.float64)

    def _of_variable(self, name: str, where: str) -> Computed:
        variable = _variable(name, where)
        if isinstance(variable, str):
            return self._of_payload(variable, "a number", _number, where)
        default = _number(self._defaults.get(variable)) or 0.0
        return lambda candidates, at: candidates.scores(variable, default)[at]

    def _of_payload(self, path: str, expected: str, convert: Convert, where: str) -> Computed:
        """What is made of the value at a path, or of the default."""
        there = Values(path, where)
        default = self._defaults.get(path, NOTHING)
        if type(default) is list and len(default) < 2:
            default = default[0] if default else NOTHING

        def computed(candidates: Candidates, at: Positions) -> Doubles:
            values = candidates.values(there)
            result = np.empty(len(at), dtype=np.float64)
            for number, position in enumerate(at.tolist()):
                value = default if values[position] is NOTHING else values[position]
                converted = None if value is NOTHING else convert(value)
                if converted is None:
                    came = "nothing, and there is no default" if value is NOTHING else repr(value)
                    raise InvalidInputError(
                        f"{where}: expected {expected} at {path!r} of {candidates.name(position)}, "
                        f"got {came:.80}"
                    )
                result[number] = converted
            return result

        return computed


# -- what is at the end of a formula ---------------------------------------------------------

_SCORE = re.compile(r"\$score(?:\[([0-9]{1,6})\])?")


def _variable(name: str, where: str) -> str | int:
    """The path in the payload, or the number of the prefetch whose score is meant."""
    if not name.startswith("$"):
        return name
    match = _SCORE.fullmatch(name)
    if match is None:
        raise InvalidInputError(
            f"{where}: expected $score, $score[i] or a path in the payload, got {name!r:.60}"
        )
    return int(match[1] or 0)


def _number(value: Any) -> float | None:
    return float(value) if type(value) is int or type(value) is float else None


def _seconds(value: Any) -> float | None:
    moment = parse_datetime(value) if type(value) is str else None
    return None if moment is None else microseconds(moment) / 1e6


def _metres(origin: models.GeoPoint) -> Convert:
    """The function that measures how far a place is from another."""

    def metres(value: Any) -> float | None:
        there = place(value)
        return None if there is None else distance(*there, origin.lon, origin.lat)

    return metres


# -- what is made of other expressions -------------------------------------------------------


def _folded(each: list[Computed], fold: np.ufunc, start: float) -> Computed:
    def computed(candidates: Candidates, at: Positions) -> Doubles:
        result = np.full(len(at), start)
        for one in each:
            fold(result, one(candidates, at), out=result)
        return result

    return computed


def _product(each: list[Computed]) -> Computed:
    def computed(candidates: Candidates, at: Positions) -> Doubles:
        result, others = np.ones(len(at)), np.arange(len(at))
        for one in each:
            factors = one(candidates, at[others])
            result[others] *= factors
            result[others[factors == 0]] = 0.0
            others = others[factors != 0]
        return result

    return computed


def _function(function: np.ufunc, inner: Computed, name: str, where: str) -> Computed:
    def computed(candidates: Candidates, at: Positions) -> Doubles:
        values = inner(candidates, at)
        return _finite(candidates, at, function(values), where, lambda i: f"{name} of {values[i]}")

    return computed


def _quotient(left: Computed, right: Computed, by_zero: float | None, where: str) -> Computed:
    def computed(candidates: Candidates, at: Positions) -> Doubles:
        result = left(candidates, at)
        others = np.flatnonzero(result != 0)
        over, under = result[others], right(candidates, at[others])
        quotients = over / under
        if by_zero is not None:
            quotients[under == 0] = by_zero
        result[others] = _finite(
            candidates,
            at[others],
            quotients,
            where,
            lambda i: f"{over[i]} / {under[i]}, and no by_zero_default",
        )
        return result

    return computed


def _power(base: Computed, exponent: Computed, where: str) -> Computed:
    def computed(candidates: Candidates, at: Positions) -> Doubles:
        low, high = base(candidates, at), exponent(candidates, at)
        powers = np.power(low, high)
        return _finite(candidates, at, powers, where, lambda i: f"{low[i]} ^ {high[i]}")

    return computed


def _decay(
    curve: Callable[[Doubles, float], Doubles],
    x: Computed,
    target: Computed,
    shape: models.DecayParamsExpression,
) -> Computed:
    scale = 1.0 if shape.scale is None else shape.scale
    midpoint = 0.5 if shape.midpoint is None else shape.midpoint

    def computed(candidates: Candidates, at: Positions) -> Doubles:
        far = np.abs(x(candidates, at) - target(candidates, at)) / scale
        return curve(far, midpoint)

    return computed


def _finite(
    candidates: Candidates,
    at: Positions,
    values: Doubles,
    where: str,
    shown: Callable[[int], str] | None = None,
) -> Doubles:
    """The values. Raises InvalidInputError if one of them is not finite."""
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        first = int(wrong[0])
        what = f"{values[first]}" if shown is None else shown(first)
        name = candidates.name(int(at[first]))
        raise InvalidInputError(f"{where}: expected a finite number for {name}, got {what}")
    return values
