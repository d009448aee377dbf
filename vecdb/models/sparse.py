"""Sparse vectors: few numbers among 2^32, and what a collection says of them.

A score of a sparse search is the inner product over the indices that query and point share; a
point that shares none is no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from vecdb.models.named import Datatype, VectorName
from vecdb.models.payload_schema import Memory
from vecdb.models.reading import By, Model, Refused, fields_of
from vecdb.models.validation import Checked


def _unread(value: Any) -> Any:
    return value


# Not a Model, as PointStruct: there is one for each point.
class SparseVector(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The numbers that are not zero: ``indices`` from 0 to 2^32 - 1 in any order, each once, and as
    many finite ``values``, in lists or arrays. Who uses it checks it. One that is read from a
    collection has lists, its indices ascend."""

    indices: Annotated[Sequence[int] | np.ndarray[Any, Any], By(_unread, "a list of indices")]
    values: Annotated[Sequence[float] | np.ndarray[Any, Any], By(_unread, "a list of numbers")]


def is_sparse(value: Any) -> bool:
    """Whether a value has the form of a sparse vector, ours, Qdrant's or JSON's."""
    if isinstance(value, SparseVector):
        return True
    if isinstance(value, (list, tuple, np.ndarray)):
        return False
    fields = fields_of(value)
    return fields is not None and "indices" in fields


class NamedSparseVector(Model, frozen=True, kw_only=True):
    """The older form of a query by a sparse vector."""

    name: VectorName
    vector: Annotated[SparseVector, By(_unread, "a sparse vector")]


class Modifier(str, Enum):
    """What the values of a query are multiplied by."""

    NONE = "none"
    IDF = "idf"
    """How rare an index is: ``ln(1 + (N - n + 0.5) / (n + 0.5))``, where ``N`` points have a vector
    of this name and ``n`` of them that index."""


class SparseIndexParams(Checked, frozen=True, kw_only=True):
    """Where sparse vectors and their inverted index are kept."""

    full_scan_threshold: Annotated[int, Meta(ge=0)] | None = None
    """Accepted for compatibility: a search takes what is faster."""
    on_disk: bool | None = None
    memory: Memory | None = None
    datatype: Datatype | None = None
    """Accepted for compatibility: the index is as small with any, and scores are those of
    ``float32``."""


class SparseVectorParams(Checked, frozen=True, kw_only=True):
    """The sparse vectors of one name."""

    index: SparseIndexParams | None = None
    modifier: Modifier | None = None


class SparseVectorConfig(Checked, frozen=True, kw_only=True):
    """A sparse vector that comes to a collection that is there."""

    modifier: Modifier | None = None
    datatype: Datatype | None = None


class SparseVectorNameConfig(Checked, frozen=True, kw_only=True):
    """What ``create_vector_name`` takes for sparse vectors."""

    sparse: SparseVectorConfig


def params_of(config: SparseVectorConfig) -> SparseVectorParams:
    """The parameters of a vector that comes later."""
    index = None if config.datatype is None else SparseIndexParams(datatype=config.datatype)
    return SparseVectorParams(index=index, modifier=config.modifier)


def require_named(name: str) -> None:
    """Raise Refused for a sparse vector without a name: the unnamed vector is dense."""
    if not name:
        raise Refused("expected a name of a sparse vector, got an empty one")
