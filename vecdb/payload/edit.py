"""Edits of a payload in place: merging at a path, removing what is at one."""

from __future__ import annotations

from typing import Any

from vecdb.payload.paths import Step


def merge_at(payload: dict[str, Any], steps: list[Step], update: dict[str, Any]) -> None:
    """Merge ``update`` into the object at ``steps``, making objects that are not there."""
    targets: list[Any] = [payload]
    for number, step in enumerate(steps):
        following = steps[number + 1] if number + 1 < len(steps) else ""
        targets = [child for t in targets for child in _descend(t, step, following)]
    for target in targets:
        merge(target, update)


def merge(target: dict[str, Any], update: dict[str, Any]) -> None:
    """Take over the keys of ``update``; a null takes the key away, as in Qdrant."""
    for key, value in update.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = value


def _descend(target: Any, step: Step, following: Step) -> list[Any]:
    """The objects or arrays one step below ``target``, made or replaced where they do not fit."""
    wanted: type = dict if isinstance(following, str) else list
    if isinstance(step, str):
        if not isinstance(target.get(step), wanted):
            target[step] = wanted()
        return [target[step]]
    positions = range(len(target)) if step is None else [step] if step < len(target) else []
    for position in positions:
        if not isinstance(target[position], wanted):
            target[position] = wanted()
    return [target[position] for position in positions]


def delete_at(payload: dict[str, Any], steps: list[Step]) -> None:
    """Remove what is at ``steps``, if anything is; a last ``[]`` empties the array.

    A last ``[3]`` removes nothing, as in Qdrant: done twice it would remove two elements.
    """
    targets: list[Any] = [payload]
    for step in steps[:-1]:
        found = []
        for target in targets:
            if isinstance(step, str):
                if isinstance(target, dict) and step in target:
                    found.append(target[step])
            elif isinstance(target, list):
                found += target if step is None else target[step : step + 1]
        targets = found
    last = steps[-1]
    for target in targets:
        if isinstance(last, str):
            if isinstance(target, dict):
                target.pop(last, None)
        elif isinstance(target, list) and last is None:
            target.clear()
