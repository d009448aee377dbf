"""One processor for what is measured, and one thread of each library."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def pin(core: int | None) -> tuple[int, list[int]]:
    """Run on one processor from here on; that one (by default the last), and all we might use.

    To be called before numpy is loaded: its threads are made then, and inherit the processor.
    """
    cores = sorted(os.sched_getaffinity(0))
    core = cores[-1] if core is None else core
    os.sched_setaffinity(0, {core})
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    paths = [str(ROOT), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return core, cores
