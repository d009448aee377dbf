"""``memory``, Qdrant's newer word for where vectors and codes are, in the words that vecdb knows.

Since 1.19 a configuration says "cold", "cached" or "pinned" where it said ``on_disk`` and
``always_ram``, which it may still say; what ``memory`` says counts more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ON_DISK = {"cold": True, "cached": False, "pinned": False}
_ALWAYS_RAM = {"cold": False, "cached": False, "pinned": True}
_PARTS = {"hnsw_config", "quantization_config"}


def of_vectors(config: Any) -> Any:
    """The same for vectors, or a dict of vectors by name: originals are on disk or not, as ``cold``
    says. The index has one place only, and its ``memory`` means nothing."""
    fields = _fields(config)
    if fields is None:
        return config
    placed: dict[Any, Any] = {}
    for name, value in fields.items():
        inner = _fields(value)
        if inner is not None and ("size" in inner or name not in _PARTS):  # a vector of that name
            placed[name] = of_vectors(value)
        else:
            placed[name] = of_codes(value) if name == "quantization_config" else value
    return _said(placed, "on_disk", _ON_DISK)


def of_codes(config: Any) -> Any:
    """The same for a quantization: its codes are in RAM for good, if they are pinned."""
    fields = _fields(config)
    if fields is None:
        return config
    placed = {name: of_codes(value) for name, value in fields.items()}
    return _said(placed, "always_ram", _ALWAYS_RAM)


def _fields(config: Any) -> Mapping[Any, Any] | None:
    if hasattr(config, "model_dump"):
        dumped: dict[str, Any] = config.model_dump(by_alias=True, exclude_none=True)
        return dumped
    return config if isinstance(config, Mapping) else None


def _said(placed: dict[Any, Any], word: str, meaning: Mapping[str, bool]) -> dict[Any, Any]:
    """With ``memory`` replaced. Another value is left, and refused as an unknown field."""
    memory = placed.get("memory")
    if isinstance(memory, str) and memory in meaning:
        del placed["memory"]
        placed[word] = meaning[memory]
    return placed
