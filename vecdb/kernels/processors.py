"""The processors that kernels are compiled for when vecdb is built.

Three of x86-64: AVX-512 with VBMI and VNNI (2019 on), AVX2 (2013 on), and all since 2009. What has
some of AVX-512 takes AVX2. Names of features are LLVM's to a compiler and Linux' at run time.

This module imports nothing else of vecdb: the build reads it, too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

__all__ = [
    "PROCESSORS",
    "Processor",
    "best_of",
    "fingerprint",
    "layouts_are_known",
    "machine_features",
]


class Processor(NamedTuple):
    """One library of kernels, and what may run it."""

    name: str
    """Of its file, and for ``VECDB_KERNELS``."""
    machine: str
    """``platform.machine()``."""
    cpu: str
    """What LLVM tunes for."""
    features: tuple[str, ...]
    """What code may use, by LLVM's names."""
    tuning: str = ""
    """More of LLVM's words."""

    def flags(self) -> set[str]:
        """The features by Linux' names, as ``/proc/cpuinfo`` lists them, but for what every such
        machine has."""
        return {_LINUX.get(name, name) for name in self.features if name != "neon"}

    def file(self, made_of: str) -> str:
        """The name of its library, of sources with that `fingerprint`."""
        return f"{self.name}-{made_of}.so"


_LINUX: Final = {
    "avx512bitalg": "avx512_bitalg",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "bmi": "bmi1",
    "lzcnt": "abm",
    "sahf": "lahf_lm",
    "sse3": "pni",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
}
"""Where it has names of its own."""

_SSE = ("cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3")
_AVX2 = (*_SSE, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_AVX512 = (
    *(*_AVX2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512vbmi"),
    *("avx512vbmi2", "avx512vnni", "avx512bitalg", "avx512ifma", "avx512vpopcntdq"),
    *("gfni", "vaes", "vpclmulqdq"),
)

PROCESSORS: Final = (
    # Kernels sum in registers of 512 bits: LLVM would halve them on this one to save frequency,
    # which costs a search 15 % and is not so on processors made since.
    Processor("avx512", "x86_64", "icelake-server", _AVX512, "-prefer-256-bit"),
    Processor("avx2", "x86_64", "x86-64-v3", _AVX2),
    Processor("sse4", "x86_64", "x86-64-v2", _SSE),
    Processor("neon", "aarch64", "generic", ("neon",)),
)
"""The best of a machine first."""


def machine_features() -> set[str]:
    """What Linux says that the first processor can do, and lets programs use; empty elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, values = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return set(values.split())
    except OSError:
        pass
    return set()


def best_of(machine: str, features: set[str]) -> list[Processor]:
    """Those that a machine can run, the best first."""
    return [p for p in PROCESSORS if p.machine == machine and p.flags() <= features]


def layouts_are_known() -> bool:
    """Whether objects are laid out as the libraries read them: in CPython with its lock, on Linux,
    on 64 bits."""
    return (
        sys.implementation.name == "cpython"
        and sys.platform == "linux"
        and "t" not in sys.abiflags  # free-threaded
        and sys.maxsize == 2**63 - 1
    )


def fingerprint(sources: Path) -> str:
    """Stands for what the modules in a directory say; empty where there is none, but their
    bytecode."""
    import hashlib  # takes longer to import than to use

    names = sorted(name for name in os.listdir(sources) if name.endswith(".py") and name[0] != ".")
    hashed = hashlib.sha256()
    for name in names:
        hashed.update(name.encode() + b"\0" + (sources / name).read_bytes() + b"\0")
    return hashed.hexdigest()[:16] if names else ""
