"""The operations of a server, a module for each kind; importing this fills their table."""

from vecdb.server.operations import (
    aliases,
    collections,
    examples,
    facts,
    inside,
    metrics,
    points,
    reads,
    snapshots,
    telemetry,
)
from vecdb.server.table import OPERATIONS

__all__ = [
    "OPERATIONS",
    "aliases",
    "collections",
    "examples",
    "facts",
    "inside",
    "metrics",
    "points",
    "reads",
    "snapshots",
    "telemetry",
]
