"""From an object file to a shared library, with whatever linker there is.

It needs no libc: Python has loaded all that a library asks for, so one file serves any libc. Where
no compiler is installed, the package ziglang brings a linker.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

_TARGETS = {"x86_64": "x86_64-linux-gnu.2.17", "aarch64": "aarch64-linux-gnu.2.17"}


def compiler() -> list[str] | None:
    """The C compiler of this machine, which links for it."""
    for command in filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    return None


def link(objects: Path, library: Path, machine: str) -> None:
    """Raises RuntimeError with what the linker said."""
    words = compiler() if machine == os.uname().machine else None
    if words is None:
        if importlib.util.find_spec("ziglang") is None:
            raise RuntimeError("there is no C compiler to link with, nor the package ziglang")
        words = [sys.executable, "-m", "ziglang", "cc", "-target", _TARGETS[machine]]
    options = ["-shared", "-nostdlib", "-s", "-Wl,--gc-sections", "-Wl,-z,noexecstack"]
    done = subprocess.run(
        [*words, *options, "-o", str(library), str(objects)], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{shlex.join(words)} could not link {objects}: {done.stderr[-500:]}")
