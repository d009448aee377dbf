"""Which payloads filters read."""

from __future__ import annotations

from typing import Any

import pytest

from vecdb.engine.read import masks


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows whose payloads are read to test a filter."""
    rows: list[int] = []
    decoded = masks.decoded

    def note(part: Any, row: int, data: Any) -> Any:
        rows.append(row)
        return decoded(part, row, data)

    monkeypatch.setattr(masks, "decoded", note)
    return rows
