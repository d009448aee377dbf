"""Which parts of a payload to return: ``with_payload`` as a list of keys, include or exclude."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from vecdb import models
from vecdb.payload import edit
from vecdb.payload.paths import Step, parse_path


def project(payload: dict[str, Any], selected: Any) -> dict[str, Any]:
    """The part of ``payload`` that the selector names. Keys may go into objects: ``a.b``."""
    if isinstance(selected, models.PayloadSelectorExclude):
        rest = deepcopy(payload)
        for path in selected.exclude:
            edit.delete_at(rest, parse_path(path))
        return rest
    keys = selected.include if isinstance(selected, models.PayloadSelectorInclude) else selected
    result: dict[str, Any] = {}
    for path in keys:
        _copy(payload, result, parse_path(path))
    return result


def _copy(source: Any, target: dict[str, Any], steps: list[Step]) -> None:
    """Copy what is at ``steps``, with the objects around it. An array is taken whole."""
    step = steps[0]
    if not isinstance(source, dict) or not isinstance(step, str) or step not in source:
        return
    if len(steps) == 1 or not isinstance(source[step], dict):
        if len(steps) == 1 or isinstance(source[step], list):
            target[step] = source[step]
        return
    inner = target.setdefault(step, {})
    _copy(source[step], inner, steps[1:])
    if not inner:
        del target[step]
