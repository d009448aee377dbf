"""``vecdb warmup``: compile every kernel ahead of time, so that no search waits for it."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

from vecdb.cli.command import Commands, add_command, print_json
from vecdb.cli.terminal import Screen, duration


def add_to(commands: Commands) -> None:
    """The command and its arguments."""
    add_command(
        commands,
        "warmup",
        _warmup,
        "compile the search kernels ahead of time",
        "The kernels are compiled once per machine, about ten seconds, by the first search that "
        "needs them; or now.",
        "vecdb warmup",
    )


def _warmup(arguments: argparse.Namespace) -> int:
    screen = Screen(quiet=arguments.json)
    screen.line("Compiling the search kernels; about ten seconds the first time.")
    with screen.bar("compiling") as bar:
        result = compile_kernels(bar.at)
    if arguments.json:
        print_json(result)
        return 0
    modules: dict[str, list[str]] = {}
    for name in sorted(result.compiled):
        module, _, kernel = name.partition(".")
        modules.setdefault(module, []).append(kernel)
    for module, kernels in modules.items():
        screen.paragraph(f"{module}: {', '.join(kernels)}", "  ")
    screen.line(result.describe())
    for path in result.cache:
        screen.line(f"Cache: {path}")
    return 0


class Warmup(Struct):
    """What was compiled, and what an earlier process had compiled already."""

    compiled: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    cache: list[str] = field(default_factory=list)
    """Directories that hold the machine code. Numba's choice: beside the sources if it may write
    there, else in the user's cache."""
    unkept: list[str] = field(default_factory=list)
    """Compiled for this process alone: there is no such directory, or it is full or damaged."""
    seconds: float = 0.0

    def describe(self) -> str:
        """One line for people."""
        total = len(self.compiled) + len(self.cached)
        if not self.compiled:
            return f"{total} kernels were cached; read in {duration(self.seconds)}."
        lost = f" {len(self.unkept)} of them could not be kept." if self.unkept else ""
        return (
            f"{len(self.compiled)} of {total} kernels compiled in {duration(self.seconds)}.{lost}"
        )


def _nothing(done: int, total: int) -> None:
    pass


def compile_kernels(progress: Callable[[int, int], None] = _nothing) -> Warmup:
    """Import every module of ``vecdb.kernels``: explicit signatures compile at import.

    ``progress(done, total)`` counts modules.
    """
    from numba.core.dispatcher import Dispatcher

    from vecdb import kernels
    from vecdb.kernels.compiling import unkept

    started = time.monotonic()
    names = sorted(module.name for module in pkgutil.iter_modules(kernels.__path__))
    modules = []
    for done, name in enumerate(names):
        progress(done, len(names))
        modules.append((name, importlib.import_module(f"{kernels.__name__}.{name}")))
    progress(len(names), len(names))
    result = Warmup(seconds=time.monotonic() - started)
    caches = set()
    for name, module in modules:
        for kernel in vars(module).values():
            if not isinstance(kernel, Dispatcher) or kernel.py_func.__module__ != module.__name__:
                continue  # not a kernel, or one of another module
            stats: Any = kernel.stats
            into = result.compiled if sum(stats.cache_misses.values()) else result.cached
            into.append(f"{name}.{kernel.py_func.__name__}")
            if stats.cache_path:
                caches.add(str(stats.cache_path))
    result.cache, result.unkept = sorted(caches), list(unkept)
    return result
