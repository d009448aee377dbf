"""All libraries of a build: which, from which sources, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from kernel_compiler import linking

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "vecdb" / "kernels"
COMPILED = SOURCES / "compiled"


def module_alone(name: str) -> ModuleType:
    """A module of ``vecdb.kernels`` without the others: they would be compiled."""
    spec = importlib.util.spec_from_file_location(f"_{name}", SOURCES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def processors(machine: str, *, this_one: bool) -> list[Any]:
    """What to compile for: every processor of a kind of machine, or ``this_one``. Nothing where
    this Python could not use it."""
    known = module_alone("processors")
    if not known.layouts_are_known():
        return []
    if this_one:
        return list(known.best_of(machine, known.machine_features())[:1])
    return [processor for processor in known.PROCESSORS if processor.machine == machine]


def build(wanted: Sequence[Any], into: Path = COMPILED) -> list[Path]:
    """The libraries, in a directory. What is there of these sources, and made since the compiler
    was last changed, stays as it is. What is there of other sources goes when all is done. Raises
    RuntimeError with what went wrong, and OSError."""
    into.mkdir(exist_ok=True)
    made_of = module_alone("processors").fingerprint(SOURCES)
    changed = max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py"))
    made = {processor: into / processor.file(made_of) for processor in wanted}
    missing = [
        processor
        for processor, path in made.items()
        if not path.exists() or path.stat().st_mtime < changed
    ]
    running: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(prefix="vecdb-kernels-") as work:
        try:
            running = [_compile(processor, Path(work)) for processor in missing]
            for processor, process in zip(missing, running, strict=True):
                _, errors = process.communicate()
                if process.returncode:
                    raise RuntimeError(f"compiling for {processor.name} failed: {errors[-1000:]}")
                _link(Path(work) / f"{processor.name}.o", made[processor], processor.machine)
        finally:
            for process in running:  # those that go on when one has failed
                process.kill()
                with process:
                    pass
    for old in into.glob("*.so"):
        if not old.stem.endswith(made_of):
            old.unlink(missing_ok=True)
    return list(made.values())


def _link(objects: Path, library: Path, machine: str) -> None:
    """Link beside the library: another build may be at the same one, or a process have it open."""
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=library.parent) as beside:
        linking.link(objects, Path(beside) / library.name, machine)
        (Path(beside) / library.name).replace(library)


def _compile(processor: Any, work: Path) -> subprocess.Popen[str]:
    """Numba reads the processor when it is imported: a process for each."""
    environment = {name: value for name, value in os.environ.items() if name != "VECDB_KERNELS"}
    environment["NUMBA_CACHE_DIR"] = str(work / processor.name)  # what is cached has no IR
    environment["PYTHONPATH"] = os.pathsep.join(  # pip keeps what a build needs there
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    return subprocess.Popen(
        [sys.executable, "-m", "kernel_compiler", processor.name, work / f"{processor.name}.o"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
