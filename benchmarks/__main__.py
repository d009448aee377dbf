"""Measure vecdb and its peers on a folder of vectors, and fill the tables of docs/benchmarks.md.

    python -m benchmarks --data DIR --json FILE            measure everything
    python -m benchmarks --data DIR --only systems,growth  some parts only
    python -m benchmarks --json FILE --markdown PAGE --plots DIR   tables and pictures from FILE

DIR holds ``base.npy`` (n x d), ``queries.npy`` (q x d) and, for a metric, ``gt_cosine.npy`` and
the like (the rows of the true nearest neighbours, best first; worked out if missing), and perhaps
``stats.json`` and ``payload.jsonl.gz``. What each figure means is in docs/benchmarks.md. Tables go
to standard output, progress to standard error. Run it alone: it pins itself to one core, but
caches and disk are shared.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks import processor

SECTIONS = (
    "systems",
    "growth",
    "quantization",
    "ingest",
    "opening",
    "import",
    "overhead",
    "kernels",
    "memory",
    "filters",
)


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    core, cores = processor.pin(options.core)

    from benchmarks import report

    if options.data is None:
        results = json.loads(options.json.read_text())
    else:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            results = _measure(options, core, cores)
        except KeyboardInterrupt:
            print("bench: stopped; temporary directories are removed", file=sys.stderr)
            return 130
        for text in report.tables(results).values():
            print(text)
    if options.markdown is not None:
        page = options.markdown.read_text()
        options.markdown.write_text(report.fill(page, results))
    if options.plots is not None and "systems" in results:
        from benchmarks import plot

        print(plot.draw(results, options.plots), file=sys.stderr)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure vecdb on a folder of vectors."
    )
    parser.add_argument("--data", type=Path, help="folder of base.npy, queries.npy and more")
    parser.add_argument("--json", type=Path, help="write the results here; read without --data")
    parser.add_argument("--markdown", type=Path, help="fill the tables of this page")
    parser.add_argument("--only", default=",".join(SECTIONS), help="parts, comma-separated")
    parser.add_argument("--quick", action="store_true", help="few repetitions: does it work?")
    parser.add_argument("--core", type=int, help="processor to run on (default: the last)")
    parser.add_argument("--seed", type=int, default=1, help="for random data (default 1)")
    parser.add_argument("--metric", help="cosine, dot or l2 (default: the data's own)")
    parser.add_argument(
        "--rows", type=int, help="so many rows: the first ones, or all again and again with noise"
    )
    parser.add_argument(
        "--sizes", help="of the growth, as 10000000x96,5000000x384: vectors and dimensions"
    )
    parser.add_argument("--systems", help="which to compare, comma-separated (default: all)")
    parser.add_argument("--plots", type=Path, help="folder for a picture of the curves")
    parser.add_argument("--no-peers", action="store_true", help="measure vecdb only")
    parser.add_argument(
        "--workdir", type=Path, help="where databases are made; must be a real disk"
    )
    options = parser.parse_args(arguments)
    options.sections = options.only.split(",")
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"--only: unknown part {unknown[0]!r}; parts are {', '.join(SECTIONS)}")
    if options.sizes is not None:
        options.sizes = [_size(parser, each) for each in options.sizes.split(",")]
    if options.systems is not None:
        options.systems = options.systems.split(",")
    if options.data is None and (
        options.json is None or (options.markdown is None and options.plots is None)
    ):
        parser.error("--data is needed, or --json with --markdown or --plots")
    return options


def _size(parser: argparse.ArgumentParser, text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,9})x([1-9][0-9]{0,5})", text)
    if found is None:
        parser.error(f"--sizes: expected vectors and dimensions as 1000000x96, got {text!r}")
    return int(found[1]), int(found[2])


def _measure(options: argparse.Namespace, core: int, cores: list[int]) -> dict[str, Any]:
    from benchmarks import (
        common,
        compare,
        filters,
        growth,
        ingest,
        kernels,
        opening,
        quantization,
        search,
    )

    sections = {
        "systems": compare.measure,
        "growth": growth.measure,
        "quantization": quantization.measure,
        "ingest": ingest.measure,
        "opening": opening.opening,
        "import": opening.imports,
        "overhead": search.measure,
        "kernels": kernels.measure,
        "memory": opening.memory,
        "filters": filters.measure,
    }
    with common.Run(options, core, cores) as run:
        results = {"setting": run.setting()}
        for name in options.sections:
            run.say(f"-- {name}")
            results[name] = sections[name](run)
            if options.json is not None:  # what there is: a run takes long
                options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    sys.exit(main())
