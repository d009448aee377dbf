"""The kernels that were compiled when vecdb was built: which library this machine can use.

A library is named after the processor it is for and the sources it was made of, so that one of
other sources is never used: whoever edits a kernel gets numba's, and is told so.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
import os
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from vecdb.kernels.processors import (
    PROCESSORS,
    best_of,
    fingerprint,
    layouts_are_known,
    machine_features,
)

__all__ = ["COMPILED", "STALE", "KernelsError", "is_stale", "load", "path"]

_log = logging.getLogger("vecdb")

COMPILED: Final = Path(__file__).parent / "compiled"
"""Where libraries are."""

STALE: Final = (
    f"the kernels in {COMPILED} were compiled from other sources and are not used; installing "
    "vecdb once more (pip install -e .) compiles these"
)
_NAME: Final = f"{__package__}._compiled"
_CHOICE: Final = "VECDB_KERNELS"
"""``jit``: numba compiles, whatever there is. The name of a processor: its library and no other."""


class KernelsError(ImportError):
    """There are no kernels that this process can use; the message says what to do."""


def is_stale() -> bool:
    """Whether libraries are there, but all of other sources."""
    there = _libraries()
    made_of = _made_of(there)
    return bool(there) and not any(_sources_of(file) == made_of for file in there)


def _made_of(there: list[str]) -> str:
    """The fingerprint of the sources. Where these are bytecode only, that of the libraries, which
    came with it; empty if they are of several: nothing says which of them the bytecode is of."""
    shipped = {_sources_of(file) for file in there}
    return fingerprint(COMPILED.parent) or (shipped.pop() if len(shipped) == 1 else "")


def _sources_of(file: str) -> str:
    return file.removesuffix(".so").rpartition("-")[2]


def _libraries() -> list[str]:
    """The names of those that are there."""
    try:
        return sorted(entry for entry in os.listdir(COMPILED) if entry.endswith(".so"))
    except OSError:
        return []


@cache
def path() -> Path | None:
    """The library for this machine; None: numba has to compile. Raises KernelsError where one was
    asked for that is not there."""
    choice = os.environ.get(_CHOICE, "")
    names = [processor.name for processor in PROCESSORS]
    if choice not in ("", "jit", *names):
        expected = ", ".join(["jit", *names])
        raise KernelsError(f"{_CHOICE} is {choice!r}; expected one of {expected}, or nothing")
    if choice == "jit" or not _layouts_are_known():
        return None
    there = _libraries()
    made_of = _made_of(there) if there else ""
    usable = best_of(os.uname().machine, machine_features())
    for processor in usable:
        file = processor.file(made_of)
        if choice in ("", processor.name) and file in there:
            return COMPILED / file
    if choice:
        raise KernelsError(
            f"{_CHOICE} is {choice!r}, but {COMPILED} has no such library of these sources, or "
            f"this processor cannot run it (it has {', '.join(there) or 'none'}; this processor "
            f"runs {', '.join(processor.name for processor in usable) or 'none of them'})"
        )
    if is_stale():
        _log.warning("%s", STALE)
    return None


def load() -> ModuleType | None:
    """The library's functions by the names of the kernels, ``"topk.topk_sort"``; None: there is no
    library that can be used."""
    at = path()
    if at is None:
        return None
    loader = importlib.machinery.ExtensionFileLoader(_NAME, str(at))
    spec = importlib.util.spec_from_file_location(_NAME, str(at), loader=loader)
    assert spec is not None
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        _probe(module)
    except Exception as error:  # whatever a kernel makes of arrays that are laid out otherwise
        _log.warning("the compiled kernels in %s are not used: %s", at, error)
        return None
    return module


def _layouts_are_known() -> bool:
    return layouts_are_known() and np.lib.NumpyVersion(np.__version__).major == 2


def _probe(module: Any) -> None:
    """Raises ImportError unless a kernel reads and writes arrays as it should."""
    scores, rows = np.array([1, 3, 2], dtype=np.float32), np.array([7, 8, 9], dtype=np.int64)
    getattr(module, "topk.topk_sort")(scores, rows, 3)
    if scores.tolist() != [3, 2, 1] or rows.tolist() != [8, 9, 7]:
        raise ImportError("they do not understand this numpy's arrays")
