"""``vecdb warmup``: have every kernel compiled, so that no search waits for it."""

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
from vecdb.kernels import at_hand


def add_to(commands: Commands) -> None:
    """The command and its arguments."""
    add_command(
        commands,
        "warmup",
        _warmup,
        "have the search kernels compiled",
        "Kernels are compiled when vecdb is built. For a machine that they were not built for, "
        "numba does it once, in a minute or two: at the first search that needs them, or now.",
        "vecdb warmup",
    )


def _warmup(arguments: argparse.Namespace) -> int:
    screen = Screen(quiet=arguments.json)
    if not at_hand():
        screen.line("Compiling the search kernels; a minute or two the first time.")
    with screen.bar("loading") as bar:
        result = load_kernels(bar.at)
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
    if result.library:
        screen.line(f"Library: {result.library}")
    for path in result.cache:
        screen.line(f"Cache: {path}")
    return 0


class Warmup(Struct):
    """Where the kernels came from: a library, or what was compiled and what an earlier process had
    compiled already."""

    library: str = ""
    """The file that has all of them, compiled when vecdb was built. Nothing else was to be done."""
    kernels: int = 0
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
        if self.library:
            return (
                f"{self.kernels} kernels were compiled when vecdb was built: nothing to do "
                f"(loaded in {duration(self.seconds)})."
            )
        if not self.compiled:
            return f"{self.kernels} kernels were cached; read in {duration(self.seconds)}."
        lost = f" {len(self.unkept)} of them could not be kept." if self.unkept else ""
        return (
            f"{len(self.compiled)} of {self.kernels} kernels compiled in "
            f"{duration(self.seconds)}.{lost}"
        )


def _nothing(done: int, total: int) -> None:
    pass


def load_kernels(progress: Callable[[int, int], None] = _nothing) -> Warmup:
    """Import every module of ``vecdb.kernels``: without a library, numba compiles what it has not
    compiled yet. ``progress(done, total)`` counts modules."""
    from vecdb import kernels
    from vecdb.kernels import library

    started = time.monotonic()
    at = library.path()
    skip = {"jit"} if at is not None else set()
    names = sorted({module.name for module in pkgutil.iter_modules(kernels.__path__)} - skip)
    modules = []
    for done, name in enumerate(names):
        progress(done, len(names))
        modules.append((name, importlib.import_module(f"{kernels.__name__}.{name}")))
    progress(len(names), len(names))
    from vecdb.kernels.compiling import LIBRARY

    result = Warmup(seconds=time.monotonic() - started)
    if LIBRARY is not None:
        result.library = str(at)
        result.kernels = sum("." in name for name in vars(LIBRARY))
    else:
        _tell_of_cache(modules, result)
    return result


def _tell_of_cache(modules: list[tuple[str, Any]], result: Warmup) -> None:
    from numba.core.dispatcher import Dispatcher

    from vecdb.kernels.jit import unkept

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
    result.kernels = len(result.compiled) + len(result.cached)
    result.cache, result.unkept = sorted(caches), list(unkept)
