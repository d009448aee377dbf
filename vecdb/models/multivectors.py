"""Multivectors: many vectors a point, as late interaction has them.

K. Khattab, M. Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late
Interaction over BERT", SIGIR 2020.
"""

from __future__ import annotations

from enum import Enum

from vecdb.models.validation import Checked


class MultiVectorComparator(str, Enum):
    """How a multivector of a query and one of a point make one score."""

    MAX_SIM = "max_sim"
    """For each vector of the query the best score against any vector of the point; their sum.
    Under Euclid the squares are summed, and the score is the root of the sum."""


class MultiVectorConfig(Checked, frozen=True, kw_only=True):
    comparator: MultiVectorComparator
