"""Common Python objects as the JSON values they mean, alike in payloads and in filters on them."""

from __future__ import annotations

import datetime
import uuid
from enum import Enum
from typing import Any

import numpy as np

LEAVES = frozenset({str, int, float, bool, type(None)})


def json_value(value: Any) -> Any:
    """The JSON value that a numpy scalar or array, a date, a UUID or an Enum means.

    Raises TypeError for anything else, OverflowError for an integer (msgpack, which asks for what
    it cannot pack, asks for those that need more than 64 bits).
    """
    if isinstance(value, np.generic):
        item = value.item()
        if isinstance(value, np.datetime64) and type(item) is int:
            # Nanoseconds, as pandas has them: a number would be in no range of times.
            item = value.astype("datetime64[us]").item()
            if type(item) is int or np.datetime64(item, "s") != value.astype("datetime64[s]"):
                raise TypeError(f"expected a year from 1 to 9999, got {value}")
        if type(item) in LEAVES:
            return item
        if not isinstance(item, np.generic):  # a date; but a long double stays what it is
            return json_value(item)
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "M" and value.ndim:
            return [json_value(item) for item in value]
        return json_value(value[()]) if value.dtype.kind == "M" else value.tolist()
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, int):
        raise OverflowError
    raise TypeError(f"expected JSON values, got {type(value).__name__} {value!r:.60}")
