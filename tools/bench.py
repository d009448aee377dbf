"""Measure vecdb on a folder of vectors, and fill the tables of docs/benchmarks.md.

    python tools/bench.py --data DIR --json FILE            measure everything
    python tools/bench.py --data DIR --only ingest,opening  some parts only
    python tools/bench.py --json FILE --markdown PAGE       fill PAGE's tables from FILE

DIR holds ``base.npy`` (n x d), ``queries.npy`` (q x d) and ``gt_cosine.npy`` (the rows of the true
nearest neighbours, best first), and perhaps ``payload.jsonl.gz`` (one JSON object a row). What
each figure means is in docs/benchmarks.md. Tables go to standard output, progress to standard
error. Run it alone: it pins itself to one core, but caches and disk are shared.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = ("quantization", "ingest", "opening", "import", "overhead", "kernels", "memory")


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    # Before numpy is loaded: its threads are made then, and inherit the processor.
    core = _pin(options.core)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    sys.path.insert(0, str(ROOT))

    from bench import report

    if options.data is None:
        results = json.loads(options.json.read_text())
    else:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            results = _measure(options, core)
        except KeyboardInterrupt:
            print("bench: stopped; temporary directories are removed", file=sys.stderr)
            return 130
        for text in report.tables(results).values():
            print(text)
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.markdown is not None:
        page = options.markdown.read_text()
        options.markdown.write_text(report.fill(page, results))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench.py", description="Measure vecdb on a folder of vectors."
    )
    parser.add_argument("--data", type=Path, help="folder of base.npy, queries.npy, gt_cosine.npy")
    parser.add_argument("--json", type=Path, help="write the results here; read without --data")
    parser.add_argument("--markdown", type=Path, help="fill the tables of this page")
    parser.add_argument("--only", default=",".join(SECTIONS), help="parts, comma-separated")
    parser.add_argument("--quick", action="store_true", help="few repetitions: does it work?")
    parser.add_argument("--core", type=int, help="processor to run on (default: the last)")
    parser.add_argument("--seed", type=int, default=1, help="for random data (default 1)")
    parser.add_argument("--no-peers", action="store_true", help="measure vecdb only")
    parser.add_argument(
        "--workdir", type=Path, help="where databases are made; must be a real disk"
    )
    options = parser.parse_args(arguments)
    options.sections = options.only.split(",")
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"--only: unknown part {unknown[0]!r}; parts are {', '.join(SECTIONS)}")
    if options.data is None and (options.json is None or options.markdown is None):
        parser.error("--data is needed, or --json and --markdown")
    return options


def _pin(core: int | None) -> int | None:
    """Run on one processor from here on; None where that cannot be asked for."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {core})
    return core


def _measure(options: argparse.Namespace, core: int | None) -> dict[str, Any]:
    from bench import common, ingest, kernels, opening, quantization, search

    sections = {
        "quantization": quantization.measure,
        "ingest": ingest.measure,
        "opening": opening.opening,
        "import": opening.imports,
        "overhead": search.measure,
        "kernels": kernels.measure,
        "memory": opening.memory,
    }
    with common.Run(options, core) as run:
        results = {"setting": run.setting()}
        for name in options.sections:
            run.say(f"-- {name}")
            results[name] = sections[name](run)
    return results


if __name__ == "__main__":
    sys.exit(main())
