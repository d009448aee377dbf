"""The kernels of a search, loaded when they are first used.

The first call of each imports it. An import statement where it is used would cost 0.5 µs every
time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache


@cache
def scan_and_sort() -> tuple[Callable[..., int], Callable[..., None]]:
    """The best rows of a block by their vectors, and the order of what is best."""
    from vecdb.kernels.distance import scan
    from vecdb.kernels.topk import topk_sort

    return scan, topk_sort


@cache
def select_rows() -> Callable[..., tuple[int, int]]:
    """The kernel of that name."""
    from vecdb.kernels.topk import select_rows

    return select_rows


@cache
def score_rows() -> Callable[..., None]:
    """The kernel of that name."""
    from vecdb.kernels.distance import score_rows

    return score_rows


@cache
def scan_sparse() -> tuple[Callable[..., int], Callable[..., None]]:
    """The best rows of a block by their sparse vectors, and the order of what is best."""
    from vecdb.kernels.sparse import scan_sparse
    from vecdb.kernels.topk import topk_sort

    return scan_sparse, topk_sort


@cache
def score_sparse() -> Callable[..., None]:
    """The kernel of that name."""
    from vecdb.kernels.sparse import score_sparse

    return score_sparse


@cache
def search_postings() -> tuple[Callable[..., int], Callable[..., None]]:
    """The best rows of a segment by its inverted index, and the order of what is best."""
    from vecdb.kernels.sparse import search_postings
    from vecdb.kernels.topk import topk_sort

    return search_postings, topk_sort


@cache
def scan_maxsim() -> tuple[Callable[..., int], Callable[..., None]]:
    """The best rows of a block by their multivectors, and the order of what is best."""
    from vecdb.kernels.maxsim import scan_maxsim
    from vecdb.kernels.topk import topk_sort

    return scan_maxsim, topk_sort


@cache
def add_best() -> Callable[..., None]:
    """The kernel of that name."""
    from vecdb.kernels.maxsim import add_best

    return add_best


@cache
def score_maxsim() -> Callable[..., None]:
    """The kernel of that name."""
    from vecdb.kernels.maxsim import score_maxsim

    return score_maxsim


@cache
def until_sure() -> tuple[Callable[..., int], Callable[..., tuple[int, int, int]]]:
    """Candidates by their vectors: all of them, or until it is likely that they are enough."""
    from vecdb.kernels.certainty import rescore_until_sure, score_candidates

    return score_candidates, rescore_until_sure


@cache
def rescore() -> Callable[..., int]:
    """The kernel of that name."""
    from vecdb.kernels.rescoring import rescore

    return rescore


@cache
def survivors() -> Callable[..., None]:
    """The kernel of that name."""
    from vecdb.kernels.rescoring import survivors

    return survivors


@cache
def allowed_first() -> Callable[..., tuple[int, int]]:
    """The kernel of that name."""
    from vecdb.kernels.shortlist import allowed_first

    return allowed_first


@cache
def metrics() -> dict[str, int]:
    """The kernels' numbers of the metrics."""
    from vecdb.kernels.signatures import METRIC_CODES

    return METRIC_CODES
