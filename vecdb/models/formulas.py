"""Formulas: scores computed of other scores, of payloads and of conditions.

An expression is a number; a condition, which is 1 where it holds and 0 elsewhere; a string, which
names a variable; or an object of one key, which is what to do with other expressions. A variable
is ``$score`` or ``$score[i]``, the score that the first or i-th prefetch gave the point, or a path
in the payload, where a number must be (an array of one number counts as that number).
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, get_args

import numpy as np
from msgspec import Struct

from vecdb.models.conditions import Condition, FieldCondition, GeoPoint, Moment
from vecdb.models.reading import By, Model, Refused, converter, fields_of, show


class SumExpression(Model, frozen=True, kw_only=True):
    """The sum of all; 0 of none."""

    sum: list[Expression]


class MultExpression(Model, frozen=True, kw_only=True):
    """A factor that is 0 is the result: those behind it are not looked at, and may have no
    value."""

    mult: list[Expression]


class MaxExpression(Model, frozen=True, kw_only=True):
    """The largest."""

    max: list[Expression]

    def _problem(self) -> str | None:
        return None if self.max else "expected at least one expression to take the largest of"


class MinExpression(Model, frozen=True, kw_only=True):
    """The smallest."""

    min: list[Expression]

    def _problem(self) -> str | None:
        return None if self.min else "expected at least one expression to take the smallest of"


class NegExpression(Model, frozen=True, kw_only=True):
    """The number with the other sign."""

    neg: Expression


class AbsExpression(Model, frozen=True, kw_only=True):
    """The number without its sign."""

    abs: Expression


class DivParams(Model, frozen=True, kw_only=True):
    """0 divided by anything is 0; what it is divided by may then have no value."""

    left: Expression
    right: Expression
    by_zero_default: float | None = None
    """The result where ``right`` is 0; None: that is an error."""


class DivExpression(Model, frozen=True, kw_only=True):
    """``left / right``"""

    div: DivParams


class SqrtExpression(Model, frozen=True, kw_only=True):
    """The square root."""

    sqrt: Expression


class PowParams(Model, frozen=True, kw_only=True):
    """What a power is made of."""

    base: Expression
    exponent: Expression


class PowExpression(Model, frozen=True, kw_only=True):
    """``base ^ exponent``"""

    pow: PowParams


class ExpExpression(Model, frozen=True, kw_only=True):
    """The power of e."""

    exp: Expression


class Log10Expression(Model, frozen=True, kw_only=True):
    """The logarithm to the base 10."""

    log10: Expression


class LnExpression(Model, frozen=True, kw_only=True):
    """The natural logarithm."""

    ln: Expression


class AcoshExpression(Model, frozen=True, kw_only=True):
    """The inverse hyperbolic cosine."""

    acosh: Expression


class GeoDistanceParams(Model, frozen=True, kw_only=True):
    """From where to where."""

    origin: GeoPoint
    to: str
    """A path in the payload, to a place: ``{"lon": ..., "lat": ...}``."""


class GeoDistance(Model, frozen=True, kw_only=True):
    """Metres from a place to the one in the payload, on a sphere."""

    geo_distance: GeoDistanceParams


class DatetimeExpression(Model, frozen=True, kw_only=True):
    """The seconds from 1970 to a moment."""

    datetime: Moment


class DatetimeKeyExpression(Model, frozen=True, kw_only=True):
    """The seconds from 1970 to the moment at a path in the payload."""

    datetime_key: str


class DecayParamsExpression(Model, frozen=True, kw_only=True):
    """How a score falls from 1 the farther ``x`` is from ``target``."""

    x: Expression
    target: Expression | None = None
    """None: 0."""
    scale: float | None = None
    """Above 0: how far from the target ``midpoint`` is reached; None: 1."""
    midpoint: float | None = None
    """Between 0 and 1; None: 0.5."""

    def _problem(self) -> str | None:
        if self.scale is not None and not self.scale > 0:
            return f"expected a scale above 0, got {self.scale!r}"
        if self.midpoint is not None and not 0 <= self.midpoint <= 1:
            return f"expected a midpoint between 0 and 1, got {self.midpoint!r}"
        return None


def _no_edge(decay: DecayParamsExpression) -> str | None:
    """What is wrong with a curve that never reaches 0."""
    if decay.midpoint in (0, 1):
        return f"expected a midpoint above 0 and below 1, got {decay.midpoint!r}"
    return None


class LinDecayExpression(Model, frozen=True, kw_only=True):
    """``max(0, 1 - (1 - midpoint) |x - target| / scale)``"""

    lin_decay: DecayParamsExpression


class ExpDecayExpression(Model, frozen=True, kw_only=True):
    """``midpoint ^ (|x - target| / scale)``"""

    exp_decay: DecayParamsExpression

    def _problem(self) -> str | None:
        return _no_edge(self.exp_decay)


class GaussDecayExpression(Model, frozen=True, kw_only=True):
    """``midpoint ^ ((x - target) / scale)²``"""

    gauss_decay: DecayParamsExpression

    def _problem(self) -> str | None:
        return _no_edge(self.gauss_decay)


_AnyExpression: TypeAlias = (
    float
    | str
    | SumExpression
    | MultExpression
    | MaxExpression
    | MinExpression
    | NegExpression
    | AbsExpression
    | DivExpression
    | SqrtExpression
    | PowExpression
    | ExpExpression
    | Log10Expression
    | LnExpression
    | AcoshExpression
    | GeoDistance
    | DatetimeExpression
    | DatetimeKeyExpression
    | LinDecayExpression
    | ExpDecayExpression
    | GaussDecayExpression
    | Condition
)


def _expression(value: Any) -> Any:
    fields = fields_of(value)
    if isinstance(value, Struct):
        known = isinstance(value, _AnyExpression)
    elif fields is not None:
        known = not _KEYS.isdisjoint(fields)
    else:
        known = isinstance(value, (int, float, str, np.number)) and not isinstance(value, bool)
    if not known:
        came = show(value) if fields is None else f"fields {', '.join(map(repr, fields)) or 'none'}"
        raise Refused(f"expected a number, a variable, a condition or one of {_NAMES}, got {came}")
    return converter(_AnyExpression)(value)


Expression = Annotated[_AnyExpression, By(_expression, "an expression")]

_STRUCTS = [each for each in get_args(_AnyExpression) if issubclass(each, Struct)]
_KEYS = frozenset(name for struct in _STRUCTS for name in struct.__struct_fields__)
_NAMES = ", ".join(s.__struct_fields__[0] for s in _STRUCTS[: _STRUCTS.index(FieldCondition)])


class FormulaQuery(Model, frozen=True, kw_only=True):
    """The prefetched points with another score: what a formula makes of the scores they have, of
    their payloads, and of conditions. It is computed with 64 bits, and returned with 32."""

    formula: Expression
    defaults: dict[str, Any] | None = None
    """The values of variables that a point does not have. A score that a point does not have, and
    that has no default, is 0; any other variable without a value is an error."""
