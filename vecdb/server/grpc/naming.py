"""Naming: what the fields, alternatives and words of messages are called over HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from google.protobuf.descriptor import Descriptor, EnumDescriptor
from msgspec import Struct

from vecdb.server.grpc.messages import REQUESTS
from vecdb.server.status import malformed

MERGED = "*"
"""The fields of this message are those of the one it is in."""

BESIDE = ("collection_name", "wait", "timeout", "ordering", "read_consistency")
"""Of a request, what does not stand in a body."""

_RENAMED: Mapping[tuple[str, str], str | None] = {
    ("*", "shard_key_selector"): "shard_key",
    ("*", "vectors_config"): "vectors",
    ("*", "sparse_vectors_config"): "sparse_vectors",
    ("*", "points_selector"): MERGED,
    ("DeletePoints", "points"): MERGED,
    ("ClearPayloadPoints", "points"): MERGED,
    ("ClearPayload", "points"): MERGED,
    ("PointVectors", "vectors"): "vector",
    ("DeletePointVectors", "vectors"): "vector",
    ("DeleteVectors", "vectors"): "vector",
    ("SearchBatchPoints", "search_points"): "searches",
    ("QueryBatchPoints", "query_points"): "searches",
    ("RecommendBatchPoints", "recommend_points"): "searches",
    ("DiscoverBatchPoints", "discover_points"): "searches",
    ("LookupLocation", "collection_name"): "collection",
    ("LookupLocation", "vector_name"): "vector",
    ("FieldCondition", "datetime_range"): "range",
    ("Formula", "expression"): "formula",
    ("OptimizersConfigDiff", "deprecated_max_optimization_threads"): "max_optimization_threads",
    ("CreateVectorNameRequest", "vector_name"): None,
    ("DeleteVectorNameRequest", "vector_name"): None,
    ("DeleteFieldIndexCollection", "field_name"): None,
    ("DeleteSnapshotRequest", "snapshot_name"): None,
    ("DeleteFullSnapshotRequest", "snapshot_name"): None,
}
"""None: not in the body. ``*``: in any message."""

ABSENT_IF_EMPTY = frozenset(
    {
        ("Filter", "must"),
        ("Filter", "should"),
        ("Filter", "must_not"),
        ("QueryPoints", "prefetch"),
        ("QueryPointGroups", "prefetch"),
        ("PrefetchQuery", "prefetch"),
        ("CreateCollection", "metadata"),
        ("UpdateCollection", "metadata"),
        ("Rrf", "weights"),
        ("Formula", "defaults"),
        ("Document", "options"),
        ("Image", "options"),
        ("InferenceObject", "options"),
    }
)
"""Lists of which an empty one is none."""

BARE = frozenset(
    {
        "BinaryQuantizationQueryEncoding",
        "ContextInput",
        "DenseVector",
        "MaxExpression",
        "MaxOptimizationThreads",
        "MinExpression",
        "MultExpression",
        "MultiDenseVector",
        "PayloadExcludeSelector",
        "PayloadIncludeSelector",
        "PointId",
        "PointsIdsList",
        "RepeatedIntegers",
        "RepeatedStrings",
        "ShardKey",
        "SparseIndices",
        "SparseVectorConfig",
        "StartFrom",
        "StrictModeMultivectorConfig",
        "StrictModeSparseConfig",
        "SumExpression",
        "TargetVector",
        "VectorExample",
        "VectorInput",
        "VectorParamsDiffMap",
        "VectorParamsMap",
        "VectorsConfig",
        "VectorsConfigDiff",
        "VectorsSelector",
        "WithVectorsSelector",
    }
)
"""Messages that over HTTP are the value of their only field."""


class Alternatives(Struct, frozen=True):
    """How a message of alternatives is written over HTTP: under the name of the one it is."""

    bare: frozenset[str] = frozenset()
    """Those that stand without their name."""
    renamed: dict[str, str] = {}


KEYED: Mapping[str, Alternatives] = {
    "AliasOperations": Alternatives(),
    "Condition": Alternatives(bare=frozenset({"field", "has_id", "filter", "has_vector"})),
    "Expression": Alternatives(bare=frozenset({"constant", "variable", "condition"})),
    "FeedbackStrategy": Alternatives(),
    "PointsSelector": Alternatives(),
    "PointsUpdateOperation": Alternatives(
        renamed={
            "delete_deprecated": "delete",
            "delete_points": "delete",
            "clear_payload_deprecated": "clear_payload",
        }
    ),
    "QuantizationConfig": Alternatives(renamed={"turboquant": "turbo"}),
    "QuantizationConfigDiff": Alternatives(
        bare=frozenset({"disabled"}), renamed={"turboquant": "turbo"}
    ),
    "Query": Alternatives(bare=frozenset({"nearest", "formula", "nearest_with_mmr"})),
    "WithPayloadSelector": Alternatives(bare=frozenset({"enable"})),
}


def in_json(message: Descriptor, field: str) -> str | None:
    """What a field is called over HTTP; None: it does not stand in a body."""
    if field in BESIDE and message.full_name in REQUESTS:
        return None
    for key in ((message.name, field), ("*", field)):
        if key in _RENAMED:
            return _RENAMED[key]
    return field


class Words:
    """The words of an enumeration, which are numbers in messages."""

    def __init__(self, enum: EnumDescriptor) -> None:
        self._name = enum.name
        self._words = {value.number: _word(enum.name, value.name) for value in enum.values}
        self._numbers = {
            word.lower(): number for number, word in self._words.items() if word is not None
        }
        self.of_zero = self._words.get(0)
        """None: 0 says that none was given."""

    def word(self, number: int) -> str | None:
        """The word of a number. Raises Refusal."""
        try:
            return self._words[number]
        except KeyError:
            raise malformed(f"{self._name}: there is no value {number}") from None

    def number(self, word: str) -> int:
        """The number of a word; 0 for one that the enumeration has not."""
        found: int = self._numbers.get(word.lower(), 0)
        return found


@cache
def words(enum: EnumDescriptor) -> Words:
    """The words of an enumeration."""
    return Words(enum)


_UNSET = frozenset({"UnknownDistance", "MemoryUnknown", "UnknownQuantization", "UnknownType"})
_UNSET_OF = frozenset({("Datatype", "Default"), ("TokenizerType", "Unknown")})
_BEFORE_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _word(enum: str, value: str) -> str | None:
    if value in _UNSET or (enum, value) in _UNSET_OF:
        return None
    if enum == "Distance":
        return value
    value = value.removeprefix("FieldType")
    return _BEFORE_CAPITAL.sub("_", value).lower()
