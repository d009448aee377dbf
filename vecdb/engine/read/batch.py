"""Batches: several requests on one state.

Many plain ones are shared out to all processors, each share from its requests to its points: what
Python does for one share, it does while kernels run for another.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain, pairwise

import numpy as np

from vecdb import models
from vecdb.engine.parallel import processors, run_all
from vecdb.engine.read.answer import answers
from vecdb.engine.read.lookup import Elsewhere
from vecdb.engine.read.request import several
from vecdb.engine.view import View

_SHARED = 8
"""Fewer requests are answered sooner than they are handed to another thread."""


def batch(
    view: View, requests: Sequence[models.QueryRequest], elsewhere: Elsewhere
) -> list[list[models.ScoredPoint]]:
    """The points of several requests, each as if it were the only one. Raises InvalidInputError,
    NotFoundError."""
    shares = min(processors(), len(requests) // _SHARED)
    if shares <= 1 or not all(map(_is_plain, requests)):
        return answers(view, several(view, requests, elsewhere))
    ends = [len(requests) * share // shares for share in range(shares + 1)]
    tasks = [partial(_share, view, requests, elsewhere, *some) for some in pairwise(ends)]
    return list(chain.from_iterable(run_all(tasks)))


def _is_plain(request: models.QueryRequest) -> bool:
    """Whether the request shares nothing with others that takes long to find out, as which points
    match a filter."""
    return (
        type(request.query) in (np.ndarray, list)
        and request.filter is None
        and request.prefetch is None
    )


def _share(
    view: View,
    requests: Sequence[models.QueryRequest],
    elsewhere: Elsewhere,
    start: int,
    stop: int,
) -> list[list[models.ScoredPoint]]:
    return answers(view, several(view, requests[start:stop], elsewhere, start))
