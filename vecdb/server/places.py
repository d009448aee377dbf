"""Places: where in a request something is wrong, by the names that its fields have.

What a verb refuses begins with the name of an argument of the verb, and whoever sent a body or a
message has never heard of it.
"""

from __future__ import annotations

import re

_ITEM = re.compile(r"(requests|update_operations)(\[\d+\](?:\.\w+(?=: ))?)(\.|: )?")
_LISTS = {"requests": "searches", "update_operations": "operations"}
"""What bodies call the arguments of verbs that take several requests."""

_FIELDS = (
    (re.compile(r"(?:query|scroll|count|facet)_filter\b"), "filter"),
    (re.compile(r"points(?:_selector)?\.filter\b"), "filter"),
    (re.compile(r"points_selector\b"), "points"),
    (re.compile(r"search_params\b"), "params"),
    (re.compile(r"shard_key_selector\b"), "shard_key"),
)
_OF_OLDER = {
    "search": (re.compile(r"query(?: vector)?\b"), "vector"),
    "recommend": (re.compile(r"query\.recommend\."), ""),
    "discover": (re.compile(r"query\.(?:discover\.)?"), ""),
}
"""By the first word of an operation: what it asks is a query to the verb."""


def in_body(text: str, operation: str) -> str:
    """What a verb says is wrong, with the place as it is in the body of an operation."""
    several = _ITEM.match(text)
    item, joint = "", ""
    if several is not None:
        item, joint = _LISTS[several[1]] + several[2], several[3] or ""
        text = text[several.end() :]
    older = _OF_OLDER.get(operation.partition("_")[0])
    for name, field in (*_FIELDS, older) if older is not None else _FIELDS:
        found = name.match(text)
        if found is not None:
            return f"{item}{joint and '.'}{field}{text[found.end() :]}"
    return f"{item}{joint}{text}"
