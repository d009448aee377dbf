"""I/O errors: a disk that fails at every call, in every way, and one that is really full.

Each workload runs again and again while its k-th disk call fails, for k = 1, 2, 3 … until it gets
to its end without reaching k: ENOSPC, EIO, EFBIG and EDQUOT, once and from then on, short writes,
failed syncs that lose what was written, failing reads; the same for LMDB's own calls, with a shim
that is compiled on the spot; on a tmpfs with 0, 1, 2 … free pages; and with a limit on the size
of a file. What must be true afterwards is in ``cases.py``.

    python -m proofs.io_faults [--sweep NAME ...] [--workload NAME ...] [--every N] [--json FILE]
    python -m proofs.io_faults --case merge:os/changes/EIO/once/17:stay    (replays one)

Each failure prints the case that replays it and keeps the directory as it was before it was opened
again. Exit code 0: no case failed, and there were some.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proofs import lives
from proofs.arguments import at_least_one, file_to_write
from proofs.io_faults.cases import Case
from proofs.io_faults.faults import CHANGES, READS, SWEEPS, Fault, numbers
from proofs.io_faults.injectors import LittleSpace, build_shim, mount_little, shim_loaded, unmount
from proofs.io_faults.mutants import MUTANTS
from proofs.io_faults.workloads import WORKLOADS, prepare
from proofs.io_faults.world import Wrong

CALLS = (CHANGES | READS) | {"catalog"}


@dataclass
class Figures:
    """Counts of all cases."""

    cases: int = 0
    reached: int = 0
    """Cases in which something failed."""
    went_on: int = 0
    """… and the collection took writes again without being opened anew."""
    closed_to_writes: int = 0
    """… and it did not, because the outcome of a write was unknown."""
    failures: list[dict[str, str]] = field(default_factory=list)
    by_kind: Counter[str] = field(default_factory=Counter)
    by_workload: Counter[str] = field(default_factory=Counter)
    raised: Counter[str] = field(default_factory=Counter)
    calls: dict[str, int] = field(default_factory=dict)
    """Of each workload, without a fault: Python's calls and LMDB's changes."""
    sizes: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    """Of each way to fail by size, and workload: how many sizes, and the largest in bytes."""

    def add(self, name: str, fault: Fault, answer: dict[str, Any]) -> None:
        """Count a case."""
        self.cases += 1
        self.by_kind[str(replace(fault, at=0))[:-2]] += 1
        self.by_workload[name] += 1
        self.raised.update(answer.get("raised", []))
        reached = bool(answer.get("hits") or answer.get("raised") or answer.get("problem"))
        self.reached += reached
        closed = bool(answer.get("closed_to_writes"))
        self.closed_to_writes += closed
        self.went_on += reached and not closed and "problem" not in answer


class Runner:
    """Makes the databases the cases start from, and runs cases in processes of their own."""

    def __init__(self, work: Path, keep: Path | None) -> None:
        self._work = work
        self._keep = keep
        self._starts: dict[str, Path] = {}
        self._seen: dict[str, dict[str, int]] = {}

    def start(self, name: str) -> Path | None:
        """The database a workload begins with; None if it makes it itself."""
        if WORKLOADS[name].new:
            return None
        if name not in self._starts:
            path = self._work / f"start-{name}"

            def make() -> lives.Message:
                prepare(name, path)
                return {}

            done = lives.answer(make)
            if "problem" in done:
                raise RuntimeError(f"{name}: {done['problem']}")
            self._starts[name] = path
        return self._starts[name]

    def seen(self, name: str) -> dict[str, int]:
        """What ``measure`` says of a workload."""
        if name not in self._seen:
            self._seen[name] = measure(self, name)
        return self._seen[name]

    def run(self, name: str, fault: Fault, ending: str, *, keep: bool = True) -> dict[str, Any]:
        """What the case says; ``problem`` if it failed, and where its directory was ``kept``."""
        path = self._work / "little" / "db" if fault.where == "tmpfs" else self._work / "db"
        start = self.start(name)
        if fault.where == "tmpfs":
            LittleSpace(0, path).lift()  # a case that died left it full
        if start is not None:
            shutil.copytree(start, path)

        def work() -> dict[str, Any]:
            case = Case(WORKLOADS[name], fault, ending, path)
            try:
                return case.run()
            except Wrong as error:
                return {"problem": str(error), "first": case.injector.hits[:1]}
            finally:
                case.injector.lift()

        answer = lives.answer(work)
        if "problem" in answer and keep:
            self._keep = self._keep or Path(tempfile.mkdtemp(prefix="vecdb-io-errors-"))
            kept = self._keep / f"{name}:{fault}:{ending}".replace("/", "-")
            shutil.rmtree(kept, ignore_errors=True)
            for directory in path.parent.glob("db*"):  # .crashed, too, and what became of them
                shutil.copytree(directory, kept / directory.name)
            answer["kept"] = str(kept)
        for directory in path.parent.glob("db*"):
            shutil.rmtree(directory)
        return answer


def measure(runner: Runner, name: str) -> dict[str, int]:
    """What a workload does when nothing fails: calls by kind, bytes, the longest file."""
    seen: dict[str, int] = {}
    for kind in (Fault("os"), Fault("libc", "catalog"), Fault("libc", "reads")):
        if kind.where == "libc" and not shim_loaded():
            continue
        answer = runner.run(name, kind, "close")
        if answer.get("problem") or answer["raised"]:
            raise RuntimeError(f"{name} fails on a healthy disk: {answer}")
        calls = answer["seen"]
        seen |= calls if kind.where == "os" else {kind.what: calls["calls"]}
        seen["longest"] = answer["longest"]
    return seen


def kinds_of(where: str, name: str) -> list[Fault]:
    """The kinds of faults a workload is tried with."""
    workload = WORKLOADS[name]
    if workload.background and where in ("os", "libc"):
        return []
    # What nobody asked to be synced may be lost.
    return [kind for kind in SWEEPS[where] if kind.mode != "lost" or workload.level == "always"]


def sweep(runner: Runner, where: str, name: str, pick: Sample, figures: Figures) -> None:
    """All cases of one workload and one way to fail, or a sample of them."""
    seen = runner.seen(name)
    for kind in kinds_of(where, name):
        every = numbers(kind, seen)
        for at in every:
            fault = replace(kind, at=at)
            for ending in fault.endings:
                if pick():
                    answer = runner.run(name, fault, ending)
                    figures.add(name, fault, answer)
                    if "problem" in answer:
                        report(name, fault, ending, answer, figures)
        if where in ("tmpfs", "fsize"):
            sizes = {"sizes": len(every), "largest": every[-1]}
            figures.sizes.setdefault(where, {})[name] = sizes


class Sample:
    """Every N-th case of all, each time it is asked."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._number = 0

    def __call__(self) -> bool:
        self._number += 1
        return self._number % self._every == 0


def report(name: str, fault: Fault, ending: str, answer: dict[str, Any], to: Figures) -> None:
    """Say what failed, and how to see it again."""
    case = f"{name}:{fault}:{ending}"
    first = ", ".join(answer.get("first", []))
    problem, kept = str(answer["problem"]).strip(), str(answer.get("kept", ""))
    to.failures.append({"case": case, "call": first, "problem": problem, "kept": kept})
    print(
        f"FAILED {name}: {fault.error} at call {fault.at} ({first}), {fault.mode}\n"
        f"    {problem.splitlines()[-1]}\n    kept in {kept}\n"
        f"    replay: python -m proofs.io_faults --case {case}",
        flush=True,
    )


def available(wanted: list[str], work: Path) -> tuple[list[str], dict[str, str]]:
    """The sweeps that can run here, and why others cannot."""
    missing = {}
    if "libc" in wanted and not shim_loaded():
        missing["libc"] = "needs a C compiler, and LD_PRELOAD"
    if "tmpfs" in wanted:
        (work / "little").mkdir()
        why = mount_little(work / "little")
        if why is not None:
            missing["tmpfs"] = f"a file system cannot be mounted: {why}"
    return [name for name in wanted if name not in missing], missing


def with_shim() -> None:
    """Start this program again, with the shim loaded. Returns where that is not possible."""
    if "VECDB_IO_SHIM" in os.environ:
        return
    directory = Path(tempfile.mkdtemp(prefix="vecdb-shim-"))
    library = build_shim(directory)
    os.environ["VECDB_IO_SHIM"] = str(directory)
    if library is not None:
        loaded = os.environ.get("LD_PRELOAD", "")
        os.environ["LD_PRELOAD"] = f"{library} {loaded}".strip()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _case(text: str) -> tuple[str, Fault, str]:
    """Workload, fault, ending."""
    try:
        name, fault, ending = text.split(":")
        if name in WORKLOADS and ending in ("stay", "close"):
            return name, Fault.parse(fault), ending
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"expected a case as it is printed with a failure, got {text!r}"
    )


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", nargs="*", default=list(SWEEPS), choices=SWEEPS)
    parser.add_argument("--workload", nargs="*", default=list(WORKLOADS), choices=WORKLOADS)
    parser.add_argument(
        "--every", type=at_least_one, default=1, help="only each N-th case of a sweep"
    )
    parser.add_argument(
        "--mutants", action="store_true", help="plant known bugs instead: each must be found"
    )
    parser.add_argument("--case", type=_case, help="one case, as printed with a failure")
    parser.add_argument("--json", type=file_to_write, help="write the figures here")
    parser.add_argument("--keep", type=Path, help="where to keep directories of failed cases")
    return parser.parse_args()


def main() -> int:
    arguments = options()
    if arguments.case is not None:
        arguments.workload, one, ending = arguments.case
        arguments.sweep = [one.where]
    if "libc" in arguments.sweep:
        with_shim()
        shutil.rmtree(os.environ["VECDB_IO_SHIM"])
    lives.load()
    gc.freeze()  # what is here now is never garbage: each case collects
    started = time.monotonic()
    figures = Figures()
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="vecdb-io-", dir=memory) as directory:
        work = Path(directory)
        sweeps, missing = available(arguments.sweep, work)
        for name, why in missing.items():
            print(f"skipped {name}: {why}", flush=True)
        try:
            runner = Runner(work, arguments.keep)
            if arguments.mutants:
                return plant_all(runner, sweeps)
            if arguments.case is None:
                run_all(runner, arguments, sweeps, figures)
            elif sweeps:
                replay(runner, arguments.workload, one, ending, figures)
        finally:
            unmount(work / "little")
    print(f"{figures.cases} cases, {figures.reached} with an error, {len(figures.failures)} failed")
    if arguments.json:
        seconds = round(time.monotonic() - started, 1)
        result = {**lives.setting(), "seconds": seconds, "skipped": missing, **vars(figures)}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if not figures.reached:
        print("no case met its fault: nothing was tested", file=sys.stderr)
    return int(bool(figures.failures) or not figures.reached)


def plant_all(runner: Runner, sweeps: list[str]) -> int:
    """Known bugs, one at a time; 1 if one of them is not found."""
    missed = 0
    for name, mutant in MUTANTS.items():
        shown = mutant.shown_by
        if shown.fault.where not in sweeps:
            print(f"{name:32} skipped", flush=True)
            continue
        runner.seen(shown.workload)
        with mutant.planted():
            found = first_problem(runner, shown.workload, shown.fault)
        missed += found is None
        print(f"{name:32} {found or 'NOT FOUND'}", flush=True)
    return int(missed > 0)


def first_problem(runner: Runner, name: str, kind: Fault) -> str | None:
    """What is wrong with the first case that fails."""
    for at in numbers(kind, runner.seen(name)):
        for ending in kind.endings:
            fault = replace(kind, at=at)
            answer = runner.run(name, fault, ending, keep=False)
            if "problem" in answer:
                return f"{fault}: {answer['problem'].strip().splitlines()[-1]:.60}"
    return None


def replay(runner: Runner, name: str, fault: Fault, ending: str, figures: Figures) -> None:
    """One case, and all that it says."""
    answer = runner.run(name, fault, ending)
    figures.add(name, fault, answer)
    print(json.dumps(answer, indent=1))
    if "problem" in answer:
        report(name, fault, ending, answer, figures)


def run_all(
    runner: Runner, arguments: argparse.Namespace, sweeps: list[str], figures: Figures
) -> None:
    pick = Sample(arguments.every)
    for where in sweeps:
        for name in arguments.workload:
            started, before = time.monotonic(), figures.cases
            failed = len(figures.failures)
            sweep(runner, where, name, pick, figures)
            figures.calls[name] = sum(n for k, n in runner.seen(name).items() if k in CALLS)
            print(
                f"{where:6} {name:12} {figures.cases - before:6} cases "
                f"{len(figures.failures) - failed:4} failed {time.monotonic() - started:7.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
