"""Damage test: whatever happens to a file, no answer is wrong and no process dies.

Real databases are made (``databases.py``): one closed, one left by SIGKILL. Copies of them
are damaged in every way (``kinds.py``): flipped bits, files cut, grown, wiped, deleted,
exchanged, replaced by those of other segments, collections, databases and of older copies, before
opening and while open. Each is opened, read to the last byte, and used by a child process
(``examine.py``); a signal is a finding. What can come of it (``judge.py``):

    detected   the error names the file or its directory; ``check`` finds it too
    tolerated  codes, quantizer, sketch, index, column, order: answers are exact, a warning says
               so, the file is rebuilt
    harmless   all answers are true, and a reason is known (``reasons.py``)
    prefix     the end of a log is lost in a way that cannot be told from a write that was never
               finished; all operations before it are there, and torn bytes are reported
    absent     the directory of a collection is gone, and so is the collection
    WRONG      anything else
    SIGNAL     the process was killed, or did not end

    python -m proofs.damage [--per-group N] [--limit N] [--case ID] [--mutant NAME ...]

A collection beside the damaged one, another each time, must stay fully usable. ``--mutant`` plants
known bugs: then cases must fail, or the harness itself is broken. The damaged directory of a
failure is kept, and the command that replays it is printed. Exit code 0: no case failed (with
mutants: each was caught).
"""

from __future__ import annotations

import argparse
import collections
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: the children are forked

import numpy as np

from proofs.arguments import at_least_one, file_to_write
from proofs.damage.databases import build
from proofs.damage.examine import Truth, company, examine
from proofs.damage.judge import Judgement, judge, outlook
from proofs.damage.kinds import Case, Cases, Place, apply, clone
from proofs.damage.mutants import MUTANTS
from proofs.damage.specs import ORDER

# Loaded once, for all.
from vecdb.engine.optimize import indexing  # noqa: F401
from vecdb.kernels import (  # noqa: F401
    clustering,
    codes,
    distance,
    fastscan,
    partitions,
    residuals,
    rotation,
    shortlist,
)

FAILED = ("WRONG", "SIGNAL")
SECONDS = 60
"""A case that takes longer, and again when it is alone, hangs: SIGALRM ends it."""
BATCH = 32
"""Cases a child examines. A fork costs as much as a case, and so do the pages it copies."""
KEPT = 50
"""Damaged directories that are kept."""


class Campaign:
    """All cases of one seed: made here, examined in children."""

    def __init__(self, work: Path, seed: int, keep: Path) -> None:
        self.work, self.seed, self.keep = work, seed, keep
        self.templates = work / "templates"
        self.templates.mkdir()
        self.truth = Truth(build(self.templates, seed))
        for template in ("closed", "killed"):
            copy = work / "undamaged"
            clone(self.templates / template, copy, ORDER, ())
            self.truth.learn(template, copy)
            shutil.rmtree(copy)
        self.figures: collections.Counter[tuple[str, str, str]] = collections.Counter()
        self.reasons: collections.Counter[tuple[str, str]] = collections.Counter()
        self.failures: list[dict[str, str]] = []

    def cases(self) -> list[Case]:
        return list(Cases(self.templates, self.seed).all())

    def run(self, cases: list[Case]) -> None:
        """Some cases, with their figures. What did not come out well is examined again, alone:
        only then is it what the case did."""
        for number, (case, judgement) in enumerate(zip(cases, self.judged(cases), strict=True)):
            if judgement.outcome in FAILED and len(cases) > 1:
                [alone] = self.judged([case])
                if alone.outcome not in FAILED and "SIGALRM" not in judgement.why:
                    after = [other.id for other in cases[:number]]
                    why = f"{judgement.why}; but not alone, only after {after}"
                    alone = Judgement("WRONG", why)
                judgement = alone
            self._note(case, judgement)

    def judged(self, cases: list[Case], plant: Callable[[], None] | None = None) -> list[Judgement]:
        """How cases come out. They share a child; after a signal the next begins in a new one."""
        judgements: list[Judgement] = []
        while len(judgements) < len(cases):
            judgements += self._in_child(cases[len(judgements) :], plant)
        return judgements

    def _in_child(self, cases: list[Case], plant: Callable[[], None] | None) -> list[Judgement]:
        """How the first of some cases came out: all of them, or up to the one it died of."""
        result, errors = self.work / "result", self.work / "stderr"
        result.write_text("")
        child = os.fork()
        if child == 0:
            self._examine_and_exit(cases, plant, result, errors)
        _, status = os.waitpid(child, 0)
        lines = [json.loads(line) for line in result.read_text().splitlines()]
        judgements = [Judgement(*line) for line in lines]
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            text = f"{name}\n{errors.read_text(errors='replace')[-1500:]}"
            judgements.append(Judgement("SIGNAL", text.strip()))
        elif os.waitstatus_to_exitcode(status) != 0:
            raise RuntimeError(f"the harness itself failed:\n{errors.read_text()}")
        for left in self.work.glob("damaged-*"):
            _remove(left)
        return judgements

    def _examine_and_exit(
        self, cases: list[Case], plant: Callable[[], None] | None, result: Path, errors: Path
    ) -> None:
        """In the child: never returns."""
        code = 1
        try:
            with open(errors, "w") as stderr:
                os.dup2(stderr.fileno(), 2)
            if plant is not None:
                plant()
            gc.freeze()  # or looking for garbage would copy every page
            for number, case in enumerate(cases):
                signal.setitimer(signal.ITIMER_REAL, SECONDS)
                place = Place(self.work / f"damaged-{number}", self.templates, self.seed)
                judgement = self._examined(case, place)
                _remove(place.root)
                with open(result, "a") as file:
                    file.write(json.dumps([judgement.outcome, judgement.why]) + "\n")
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _examined(self, case: Case, place: Place) -> Judgement:
        clone(self.templates / case.template, place.root, company(case), case.touched)
        if case.mode != "live":
            apply(case, place)
        view = outlook(case, place, self.truth)
        notes = examine(case, place, self.truth, view.states)
        return judge(case, place, notes, view)

    def _note(self, case: Case, judgement: Judgement) -> None:
        damage = case.damage if case.mode == "read" else f"{case.damage} ({case.mode})"
        self.figures[case.kind, damage, judgement.outcome] += 1
        if judgement.outcome in ("harmless", "prefix", "absent"):
            self.reasons[case.kind, f"{judgement.outcome}: {judgement.why}"] += 1
        if judgement.outcome not in FAILED:
            return
        kept = self.keep / f"{len(self.failures):04d}"
        if len(self.failures) < KEPT:
            shutil.copytree(self.templates / case.template, kept)
            apply(case, Place(kept, self.templates, self.seed))
        replay = f"python -m proofs.damage --case '{case.id}' --seed {self.seed}"
        failure = {"case": case.id, **asdict(judgement), "replay": replay, "kept": str(kept)}
        self.failures.append(failure)
        print(f"{judgement.outcome}: {case.id}\n    {judgement.why}", flush=True)
        print(f"    {replay}\n    directory: {kept}", flush=True)

    def report(self, seconds: float) -> dict[str, Any]:
        """All figures, as they go into the JSON file."""
        outcomes: collections.Counter[str] = collections.Counter()
        kinds: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        damages: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for (kind, damage, outcome), count in self.figures.items():
            outcomes[outcome] += count
            kinds[kind][outcome] += count
            damages[damage][outcome] += count
        return {
            "seed": self.seed,
            "cases": self.figures.total(),
            "failed": len(self.failures),
            "seconds": round(seconds, 1),
            "outcomes": dict(sorted(outcomes.items())),
            "by_file": {k: dict(sorted(v.items())) for k, v in sorted(kinds.items())},
            "by_damage": {k: dict(sorted(v.items())) for k, v in sorted(damages.items())},
            "by_file_and_damage": {
                f"{kind} {damage} {outcome}": count
                for (kind, damage, outcome), count in sorted(self.figures.items())
            },
            "reasons": {f"{k}: {why}": n for (k, why), n in sorted(self.reasons.items())},
            "failures": self.failures,
        }


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def chosen(cases: list[Case], per_group: int | None, limit: int | None, seed: int) -> list[Case]:
    """Some of all cases: so many of each kind of file and damage, so many in all."""
    rng = np.random.default_rng(seed)
    order = [cases[n] for n in rng.permutation(len(cases))]
    if per_group is not None:
        seen: collections.Counter[tuple[str, ...]] = collections.Counter()
        kept = []
        for case in order:
            group = (case.template, case.mode, case.kind, case.damage)
            seen[group] += 1
            if seen[group] <= per_group:
                kept.append(case)
        order = kept
    return order[:limit]


def run_all(campaign: Campaign, cases: list[Case], figures: Path | None) -> dict[str, Any]:
    """Every case, with a line and the figures so far now and then; the figures."""
    started = shown = time.monotonic()
    for start in range(0, len(cases), BATCH):
        campaign.run(cases[start : start + BATCH])
        if time.monotonic() - shown > 60:
            shown = time.monotonic()
            done = min(start + BATCH, len(cases))
            left = (shown - started) / done * (len(cases) - done)
            print(
                f"{done} of {len(cases)} cases, {len(campaign.failures)} failed, "
                f"{left / 60:.0f} minutes left",
                flush=True,
            )
            write_report(campaign.report(shown - started), figures)
    report = campaign.report(time.monotonic() - started)
    write_report(report, figures)
    return report


def write_report(report: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        path.write_text(json.dumps(report, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="of data, places and bits")
    parser.add_argument(
        "--per-group", type=at_least_one, help="cases of each kind of file and damage"
    )
    parser.add_argument("--limit", type=at_least_one, help="at most so many cases")
    parser.add_argument("--only", default="", help="only cases whose names contain this")
    parser.add_argument("--case", type=_case, help="replay this one")
    parser.add_argument(
        "--mutant", nargs="+", help="plant these bugs, one by one ('list': name them; 'all')"
    )
    parser.add_argument("--json", type=file_to_write, help="write the figures here")
    arguments = parser.parse_args()
    if arguments.mutant == ["list"]:
        print("\n".join(f"{name}: {mutant.what}" for name, mutant in MUTANTS.items()))
        return 0
    unknown = set(arguments.mutant or []) - {*MUTANTS, "all"}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    shared_memory = Path("/dev/shm")
    parent = shared_memory if shared_memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="vecdb-damage-", dir=parent) as work:
        keep = Path(tempfile.mkdtemp(prefix="vecdb-damaged-"))
        campaign = Campaign(Path(work), arguments.seed, keep)
        cases = [arguments.case] if arguments.case else campaign.cases()
        if arguments.mutant is not None:
            names = list(MUTANTS) if arguments.mutant == ["all"] else arguments.mutant
            missed = [n for n in names if not caught(n, campaign, cases, arguments.limit or 200)]
            keep.rmdir()
            print(f"{len(names) - len(missed)} of {len(names)} planted bugs caught")
            return int(bool(missed))
        cases = [case for case in cases if arguments.only in case.id]
        if not cases:
            parser.error(f"--only: no case has {arguments.only!r} in its name")
        cases = chosen(cases, arguments.per_group, arguments.limit, arguments.seed)
        report = run_all(campaign, cases, arguments.json)
    if not campaign.failures:
        keep.rmdir()
    print_report(report)
    return int(bool(campaign.failures))


def _case(text: str) -> Case:
    try:
        return Case.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a case as it is printed with a failure, got {text!r}"
        ) from None


def caught(name: str, campaign: Campaign, cases: list[Case], limit: int) -> bool:
    """Whether a planted bug makes a case fail."""
    mutant = MUTANTS[name]
    suspects = chosen([c for c in cases if mutant.shown_by in c.id], None, limit, campaign.seed)
    judgements = campaign.judged(suspects, mutant.plant)
    failed = [j for j in judgements if j.outcome in FAILED]
    first = f": {failed[0].outcome} {failed[0].why}".replace("\n", " ")[:160] if failed else ""
    print(f"{name:12} {len(failed):3} of {len(judgements)} cases failed{first}", flush=True)
    return bool(failed)


def print_report(report: dict[str, Any]) -> None:
    outcomes = list(report["outcomes"])
    print(f"{'':22}" + "".join(f"{outcome:>10}" for outcome in outcomes))
    for kind, counts in report["by_file"].items():
        print(f"{kind:22}" + "".join(f"{counts.get(o, 0):10}" for o in outcomes))
    print(f"{'all':22}" + "".join(f"{report['outcomes'][o]:10}" for o in outcomes))
    print(f"{report['cases']} cases, {report['failed']} failed, {report['seconds']} s")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
