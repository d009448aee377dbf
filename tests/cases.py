"""Random cases: the first few are among the default tests, all others among the slow ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def first_few(few: int, cases: Sequence[Any]) -> list[Any]:
    """``cases`` for ``pytest.mark.parametrize``; those behind the first ``few`` are slow."""
    slow = pytest.mark.slow
    return [*cases[:few], *(pytest.param(case, marks=slow) for case in cases[few:])]
