"""Libraries that only some formats need, which extras install."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vecdb.errors import InvalidInputError


def library(name: str, extra: str) -> Any:
    """A library, imported when it is needed. Raises InvalidInputError that names the extra."""
    try:
        return import_module(name)
    except ImportError:
        raise InvalidInputError(
            f"{name.partition('.')[0]} is needed for this, and not installed: "
            f"pip install 'vecdb-embedded[{extra}]'"
        ) from None
