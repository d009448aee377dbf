"""Queries: of which kind a query is, and the function that makes a plan of that kind.

A new kind has a model, a module that compiles it, and a row in `KINDS`; if it has a plan of its
own, that has a type in ``plan`` and a place in ``answer``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from vecdb import models
from vecdb.engine.read.asked import Asked
from vecdb.engine.read.examples import context, discover, recommend, relevance_feedback
from vecdb.engine.read.formula import formula
from vecdb.engine.read.fusion import fusion, rrf
from vecdb.engine.read.nearest import PLAIN, nearest, nearest_query
from vecdb.engine.read.ordered import in_order, sampled
from vecdb.engine.read.plan import Plan
from vecdb.engine.read.text import text
from vecdb.engine.view import View
from vecdb.errors import InvalidInputError
from vecdb.models.reading import fields_of


class Kind(Struct, frozen=True):
    """One kind of query. ``compile`` takes the query, read as ``model``, and what else is asked
    for."""

    model: Any
    compile: Callable[[View, Any, Asked], Plan]


KINDS = {
    "nearest": Kind(models.NearestQuery, nearest_query),
    "recommend": Kind(models.RecommendQuery, recommend),
    "discover": Kind(models.DiscoverQuery, discover),
    "context": Kind(models.ContextQuery, context),
    "relevance_feedback": Kind(models.RelevanceFeedbackQuery, relevance_feedback),
    "order_by": Kind(models.OrderByQuery, in_order),
    "sample": Kind(models.SampleQuery, sampled),
    "fusion": Kind(models.FusionQuery, fusion),
    "rrf": Kind(models.RrfQuery, rrf),
    "formula": Kind(models.FormulaQuery, formula),
    "text": Kind(models.TextQuery, text),
}
"""By the field that tells a kind in JSON. A query of no kind is a vector, or the id of a point."""
SEARCHES = {"nearest": KINDS["nearest"]}
"""The kinds that ``search`` takes."""


def plan_of(view: View, query: Any, asked: Asked, kinds: Mapping[str, Kind] = KINDS) -> Plan:
    """The plan of a query. Raises InvalidInputError, NotFoundError."""
    if type(query) in PLAIN or models.is_document(query):  # a document has a text, too
        return nearest(view, query, asked)
    fields = fields_of(query)
    for name, kind in kinds.items():
        if isinstance(query, kind.model) or name in (fields or ()):
            read = models.coerce(kind.model, fields or query, f"{asked.where}query")
            return kind.compile(view, read, asked)
    for name, kind in KINDS.items():
        if isinstance(query, kind.model) or name in (fields or ()):
            raise InvalidInputError(
                f"{asked.where}query: expected a vector, an id, or a query by "
                f"{' or '.join(kinds)}, got one by {name}"
            )
    return nearest(view, query, asked)
