"""Which parts of a payload to return: a list of keys, include, exclude, or both."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from vecdb import models
from vecdb.payload import edit
from vecdb.payload.paths import Step, parse_path

_Branches = dict[Step, Any]
"""The wanted keys below a value: for each step True (all that is there) or more branches."""


def projection(
    selected: Any, what: str = "with_payload"
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function that returns what a selector names of a payload; its result may share values
    with the payload. ``what`` the selector is given as. Raises InvalidInputError for what is not a
    path."""
    if isinstance(selected, models.PayloadSelectorExclude):
        excluded = [parse_path(path, f"{what}.exclude") for path in selected.exclude]
        return lambda payload: _without(payload, excluded)
    if isinstance(selected, models.PayloadSelector):
        included = projection(models.PayloadSelectorInclude(include=selected.include), what)
        excluded = [parse_path(path, f"{what}.exclude") for path in selected.exclude]
        return lambda payload: _without(included(payload), excluded)
    if isinstance(selected, models.PayloadSelectorInclude):
        selected, what = selected.include, f"{what}.include"
    branches: _Branches = {}
    for path in selected:
        _add(branches, parse_path(path, what))
    return lambda payload: _only(payload, branches)


def _without(payload: dict[str, Any], paths: list[list[Step]]) -> dict[str, Any]:
    rest = deepcopy(payload)
    for steps in paths:
        edit.delete_at(rest, steps)
    return rest


def _add(branches: _Branches, steps: list[Step]) -> None:
    for step in steps[:-1]:
        if branches.get(step) is True:  # all of it is wanted by a shorter path
            return
        branches = branches.setdefault(step, {})
    branches[steps[-1]] = True


def _only(value: Any, branches: _Branches) -> Any:
    """The wanted parts of a value. As in Qdrant, objects and arrays on the way stay, and so does a
    value that has nothing below it; ``[0]`` names nothing."""
    if isinstance(value, dict):
        return {
            name: below if branches[name] is True else _only(below, branches[name])
            for name, below in value.items()
            if name in branches
        }
    if isinstance(value, list):
        wanted = branches.get(None, {})
        if wanted is True or not value:
            return value
        return [_only(below, wanted) for below in value] if wanted else []
    return value
