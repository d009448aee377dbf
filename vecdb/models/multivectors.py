"""Multivectors: many vectors a point, as late interaction has them.

K. Khattab, M. Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late
Interaction over BERT", SIGIR 2020.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from vecdb.errors import InvalidInputError
from vecdb.models.named import Datatype
from vecdb.models.reading import show
from vecdb.models.validation import Checked


class MultiVectorComparator(str, Enum):
    """How a multivector of a query and one of a point make one score."""

    MAX_SIM = "max_sim"
    """For each vector of the query the best score against any vector of the point; their sum.
    Under Euclid the squares are summed, and the score is the root of the sum."""


class MultiVectorConfig(Checked, frozen=True, kw_only=True):
    """Points have many vectors of a name; how these are compared."""

    comparator: MultiVectorComparator


def require_float32(params: Any) -> None:
    """Raise InvalidInputError for parameters of multivectors with another datatype."""
    narrow = params.datatype not in (None, Datatype.FLOAT32)
    if narrow and params.multivector_config is not None:
        raise InvalidInputError(
            f"{type(params).__name__}.datatype: expected 'float32' for multivectors, got "
            f"{show(params.datatype)}"
        )
