"""The operations of a server, a module for each kind; importing this fills their table."""

from vecdb.server.operations import (
    aliases,
    collections,
    facts,
    metrics,
    points,
    reads,
    snapshots,
    telemetry,
    unserved,
)
from vecdb.server.table import OPERATIONS

__all__ = [
    "OPERATIONS",
    "aliases",
    "collections",
    "facts",
    "metrics",
    "points",
    "reads",
    "snapshots",
    "telemetry",
    "unserved",
]
