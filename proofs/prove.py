"""Prove: every fault test at full length, one after the other, and all figures in one file.

    python -m proofs.prove                                 all of it: some ten hours on two cores
    python -m proofs.prove --short                         some minutes
    python -m proofs.prove --only kill soak                the others keep their last figures
    python -m proofs.prove --markdown docs/durability.md   write the figures there; runs nothing

Each test is a program of its own in this package, prints what replays a failure, and keeps the
database as it was before it was opened again. Exit code 0: nothing failed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs.arguments import file_to_write

ROOT = Path(__file__).resolve().parent.parent
PROOF = ROOT / "docs" / "proof.json"
BEGIN = "<!-- figures: written by python -m proofs.prove --markdown docs/durability.md -->"
END = "<!-- end of figures -->"

Figures = dict[str, Any]


@dataclass(frozen=True)
class Test:
    """One program, its arguments at both lengths, and its figures in words: (done, found)."""

    program: str
    full: list[str]
    short: list[str]
    words: Callable[[Figures], tuple[str, str]]


def _images(figures: Figures) -> tuple[str, str]:
    count = len(figures["workloads"])
    return (
        f"{figures['images']:,} distinct disk images of {count} workloads after a power loss",
        f"{figures['failed']} failed",
    )


def _mutants(figures: Figures) -> tuple[str, str]:
    rows = figures["mutants"]
    caught = sum(row["caught"] for row in rows)
    return f"{len(rows)} bugs planted in the protocol", f"{caught} caught by it"


def _kills(figures: Figures) -> tuple[str, str]:
    recovery = figures["recovery_ms"]
    return (
        f"{figures['rounds']:,} kills at random moments, {figures['acknowledged']:,} acknowledged "
        f"writes, {figures['indexed_segments']:,} segments with an index; "
        f"opening took {recovery['p50']:.0f} ms (p50), {recovery['p99']:.0f} ms (p99)",
        f"{figures['lost']} lost, {figures['resurrected']} resurrected, "
        f"{figures['duplicates']} duplicates",
    )


def _damage(figures: Figures) -> tuple[str, str]:
    outcomes = figures["outcomes"]
    names = ("detected", "tolerated", "harmless", "prefix", "absent")
    well = ", ".join(f"{outcomes[name]:,} {name}" for name in names if outcomes.get(name))
    return (
        f"{figures['cases']:,} damaged databases: {well}",
        f"{outcomes.get('WRONG', 0)} wrong answers, {outcomes.get('SIGNAL', 0)} signals",
    )


def _io_faults(figures: Figures) -> tuple[str, str]:
    skipped = f" (not possible here: {', '.join(figures['skipped'])})" if figures["skipped"] else ""
    return (
        f"{figures['reached']:,} runs with a failing call or a full disk{skipped}",
        f"{len(figures['failures'])} failed",
    )


def _soak(figures: Figures) -> tuple[str, str]:
    return (
        f"{figures['operations']:,} operations with {figures['restarts']:,} restarts, "
        f"{figures['comparisons']:,} comparisons with a model, "
        f"{figures['indexed_segments']:,} segments with an index",
        f"{figures['mismatches']} mismatches",
    )


def _crowd(figures: Figures) -> tuple[str, str]:
    return (
        f"{figures['operations']:,} operations of many handles on databases that move, with "
        f"{figures['restarts']:,} restarts, {figures['comparisons']:,} comparisons with a model",
        f"{figures['mismatches']} mismatches, {len(figures['unsteady'])} leaks",
    )


def _recall(figures: Figures) -> tuple[str, str]:
    summary = figures["summary"]
    return (
        f"{summary['collections']:,} collections of {summary['generators']} kinds of data, "
        f"{summary['cells']:,} ways of searching compared with exact search",
        f"{summary['wrong']:,} wrong",
    )


TESTS: dict[str, Test] = {
    "powerloss": Test("proofs.powerloss", [], ["--limit", "20"], _images),
    "mutants": Test(
        "proofs.powerloss",
        ["--mutant", "all", "--limit", "400"],  # a bug that is caught is not caught better by more
        ["--mutant", "all", "--limit", "60"],
        _mutants,
    ),
    "kill": Test("proofs.kill", ["--rounds", "1000"], ["--rounds", "50"], _kills),
    "damage": Test("proofs.damage", [], ["--limit", "1000"], _damage),
    "io_faults": Test("proofs.io_faults", [], ["--every", "50"], _io_faults),
    "soak": Test(
        "proofs.soak",
        ["--operations", "200000", "--restarts", "200"],
        ["--operations", "5000", "--restarts", "10"],
        _soak,
    ),
    "crowd": Test(
        "proofs.crowd",
        ["--operations", "200000", "--restarts", "40"],
        ["--operations", "5000", "--restarts", "10"],
        _crowd,
    ),
    "recall": Test("proofs.recall", [], ["--quick", "--generator", "noise"], _recall),
}


def run(test: Test, arguments: list[str]) -> Figures:
    """What the program found. ``figures`` is None if it did not get to its end."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        found = Path(directory) / "figures.json"
        command = [sys.executable, "-m", test.program, *arguments, "--json", str(found)]
        code = subprocess.run(command).returncode
        figures = json.loads(found.read_text()) if found.exists() else None
    if figures is not None:
        figures.pop("cells", None)  # of recall, which prints the wrong ones
    return {
        "command": " ".join(["python", "-m", test.program, *arguments]),
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "exit_code": code,
        "seconds": round(time.monotonic() - started),
        "figures": figures,
    }


def commit() -> str:
    """What was tested; empty if that cannot be told."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=7"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def table(proof: Figures) -> str:
    """The figures as they stand in the docs."""
    on = proof["machine"]
    lines = [
        BEGIN,
        "",
        f"On {on['cores']} cores, {on['system']}, Python {on['python']}:",
        "",
        "| what was done | what was found | command | minutes | date | commit |",
        "|---|---|---|---|---|---|",
    ]
    for name, test in TESTS.items():
        result = proof["tests"].get(name)
        if result is None or result["figures"] is None:
            continue
        done, found = test.words(result["figures"])
        minutes = max(1, round(result["seconds"] / 60))
        lines.append(
            f"| {done} | **{found}** | `{result['command']}` | {minutes} | {result['date']} "
            f"| {result.get('commit', '')} |"
        )
    return "\n".join([*lines, "", END])


def write_table(proof: Figures, page: Path) -> None:
    """Put the figures between the marks of a page."""
    text = page.read_text()
    before, rest = text.split(BEGIN)
    page.write_text(before + table(proof) + rest.split(END)[1])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="some minutes instead of hours")
    parser.add_argument("--only", nargs="+", choices=TESTS, default=list(TESTS), metavar="TEST")
    parser.add_argument(
        "--json", type=file_to_write, default=PROOF, help="the figures (default: docs/proof.json)"
    )
    parser.add_argument("--markdown", type=Path, help="write the figures into this page")
    options = parser.parse_args()
    proof: Figures = {"tests": {}}
    if options.json.exists():
        proof = json.loads(options.json.read_text())
        if "tests" not in proof:
            parser.error(f"{options.json}: expected figures that this program wrote")
    if options.markdown is not None:
        if not proof["tests"]:
            parser.error(f"{options.json}: there are no figures yet; run this without --markdown")
        if not options.markdown.is_file() or BEGIN not in options.markdown.read_text():
            parser.error(f"{options.markdown}: expected a page with the line {BEGIN}")
        write_table(proof, options.markdown)
        return 0
    failed = []
    for name in options.only:
        test = TESTS[name]
        print(f"=== {name}", flush=True)
        result = run(test, test.short if options.short else test.full)
        if result["exit_code"] != 0 or result["figures"] is None:
            failed.append(name)
        proof["machine"] = machine()
        proof["tests"][name] = result
        if not options.short or options.json != PROOF:
            options.json.write_text(json.dumps(proof, indent=1) + "\n")
    for name in options.only:
        figures = proof["tests"][name]["figures"]
        words = ": ".join(TESTS[name].words(figures)) if figures else "did not get to its end"
        print(f"{name:14} {'FAILED' if name in failed else 'ok':8} {words}")
    return int(bool(failed))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
