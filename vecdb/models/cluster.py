"""Names of what decides nothing where one process has all of a collection.

Programs written for Qdrant import them, and pass them along.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from vecdb.models.config import IdTrackerParams, PayloadStorageParams, Positive
from vecdb.models.reading import Model


class ReadConsistencyType(str, Enum):
    """How many copies of a point a read asks. There is one here."""

    MAJORITY = "majority"
    QUORUM = "quorum"
    ALL = "all"


class WriteOrdering(str, Enum):
    """Which writes are seen in the order they were made. All are, here."""

    WEAK = "weak"
    MEDIUM = "medium"
    STRONG = "strong"


class ShardingMethod(str, Enum):
    """Who decides in which part of a collection a point is. There is one part here."""

    AUTO = "auto"
    CUSTOM = "custom"


ReadConsistency: TypeAlias = int | ReadConsistencyType
ShardKey: TypeAlias = int | str
ShardKeySelector: TypeAlias = ShardKey | list[ShardKey]


class InitFrom(Model, frozen=True, kw_only=True):
    """Of older clients. A snapshot copies a collection."""

    collection: str


class CollectionParamsDiff(Model, frozen=True, kw_only=True):
    """What of a collection may change. Only where payloads and ids are kept has an effect."""

    replication_factor: Positive | None = None
    write_consistency_factor: Positive | None = None
    read_fan_out_factor: int | None = None
    read_fan_out_delay_ms: int | None = None
    on_disk_payload: bool | None = None
    payload: PayloadStorageParams | None = None
    id_tracker: IdTrackerParams | None = None
