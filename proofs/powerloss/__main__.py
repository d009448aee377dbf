"""Power-loss test: every disk image POSIX allows after a crash must recover.

A workload (``workloads.py``, ``traced.py``) runs under strace, so that LMDB's own writes are seen
too, and prints an acknowledgement after each step. At every system call that changes the disk, and at every
acknowledgement, the possible images are enumerated (``disk.py``), written out, and opened
by a child process (``check.py``). What each may hold says ``promises.py``.

    python -m proofs.powerloss                          # everything
    python -m proofs.powerloss --workload merge --limit 200
    python -m proofs.powerloss --mutant all             # planted bugs: all must be caught

A failing image is kept as it was before recovery, next to the recording of its run, and the
command that opens exactly this image again is printed.

Exit code 0: no image failed (with mutants: every one was caught); 1: otherwise; 2: strace is
missing or not allowed here; 130: Ctrl-C, and the figures are those so far.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # hundreds of small processes on few cores

from proofs.arguments import at_least_one, file_to_write
from proofs.powerloss.check import check_image, warm
from proofs.powerloss.children import in_children
from proofs.powerloss.disk import Image
from proofs.powerloss.mutants import MUTANTS
from proofs.powerloss.promises import Allowed
from proofs.powerloss.recordings import Recording, recordings_of
from proofs.powerloss.trace import unusable
from proofs.powerloss.workloads import WORKLOADS

_KEPT = 5
"""Failing images kept of one workload."""


@dataclass
class Result:
    """Figures of one workload."""

    workload: str
    moments: int = 0
    """Changes of the disk, syncs and acknowledgements: when the power may go off."""
    images: int = 0
    """Distinct disks that were opened, and that no workload before it had."""
    opened: int = 0
    """Openings: an image is opened again when more has been promised of it."""
    seconds: float = 0.0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    """The first of them."""
    kept: str | None = None
    """Where these images are, and the recording they come from."""


@dataclass(frozen=True)
class Sight:
    """An image, and what is known of it."""

    number: int
    """Within its workload: replays it."""
    moment: int
    image: Image
    recording: int
    allowed: Allowed
    digest: bytes

    def write(self, slot: Path) -> tuple[int, Allowed]:
        """Make it a directory, until the next image is asked for; what its check must know."""
        self.image.write(slot)
        return self.recording, self.allowed


def sights(recordings: list[Recording]) -> Iterator[Sight]:
    """Every image of a workload."""
    number = before = at = 0
    for index, recording in enumerate(recordings):
        for at, image, allowed in recording.images():
            yield Sight(number, before + at, image, index, allowed, image.digest())
            number += 1
        before += at


class Workshop:
    """Where workloads are run and images opened."""

    def __init__(self, directory: Path, jobs: int, keep: Path) -> None:
        self.directory = directory
        self.jobs = jobs
        self.keep = keep
        self.seen: set[bytes] = set()

    def run(
        self,
        name: str,
        *,
        mutant: str | None = None,
        limit: int | None = None,
        only: int | None = None,
        recorded: Path | None = None,
    ) -> Result:
        """All images of a workload, about ``limit`` of them spread evenly, or ``only`` one."""
        started = time.monotonic()
        result = Result(name)
        work = self.directory / name
        if recorded is not None:
            shutil.copytree(recorded, work)
        try:
            recordings = recordings_of(name, work, mutant, self.jobs)
            self._open(result, work, recordings, limit, only, keep=mutant is None)
        except RuntimeError as error:  # the program failed, or did what the model does not have
            result.failed += 1
            result.failures.append(f"it did not run: {error}")
        shutil.rmtree(work, ignore_errors=True)
        result.seconds = round(time.monotonic() - started, 1)
        return result

    def _open(
        self,
        result: Result,
        work: Path,
        recordings: list[Recording],
        limit: int | None,
        only: int | None,
        *,
        keep: bool,
    ) -> None:
        every = 1
        if limit is not None:
            every = max(1, sum(1 for _ in sights(recordings)) // limit)

        def chosen() -> Iterator[Sight]:
            for sight in sights(recordings):
                result.moments = sight.moment
                if sight.number == only or (only is None and sight.number % every == 0):
                    result.opened += 1
                    result.images += sight.digest not in self.seen
                    self.seen.add(sight.digest)
                    yield sight

        def check(request: tuple[int, Allowed], slot: Path) -> None:
            index, allowed = request
            check_image(slot / "db", recordings[index].history, allowed)

        failing = []
        for sight, problem in in_children(chosen(), Sight.write, check, work, self.jobs):
            if problem is not None:
                result.failed += 1
                failing.append(sight.number)
                if len(failing) <= _KEPT:
                    result.failures.append(
                        f"image {sight.number}, moment {sight.moment}: {problem}"
                    )
        if only is not None and not result.opened:
            raise RuntimeError(f"there is no image {only}")
        if failing and keep:
            kept = self._keep(result.workload, work, recordings, set(failing[:_KEPT]))
            result.kept = str(kept)

    def _keep(self, name: str, work: Path, recordings: list[Recording], failing: set[int]) -> Path:
        """The recordings, and the images as they were before recovery."""
        paths = (self.keep / f"{name}-{n}" for n in count(1))
        kept = next(path for path in paths if not path.exists())
        shutil.copytree(work, kept / "recording")
        for sight in sights(recordings):
            if sight.number in failing:
                sight.write(kept / f"image-{sight.number}")
        return kept


def open_images(workshop: Workshop, name: str, arguments: argparse.Namespace) -> Result:
    """All images of a workload, reported."""
    result = workshop.run(
        name, limit=arguments.limit, only=arguments.image, recorded=arguments.recording
    )
    print(
        f"{name:20} {result.moments:5} moments {result.images:6} images {result.failed:5} failed "
        f"{result.seconds:7.1f} s"
    )
    for failure in result.failures:
        print(f"    {failure}")
        number = re.match(r"image (\d+)", failure)
        if number is not None:
            print(
                f"        python -m proofs.powerloss --workload {name} --image {number[1]} "
                f"--recording {result.kept}/recording"
            )
    sys.stdout.flush()
    return result


def plant(workshop: Workshop, name: str, limit: int | None) -> dict[str, Any]:
    """A mutant on each of the workloads that should catch it, reported."""
    mutant = MUTANTS[name]
    workshop.seen.clear()
    results = [workshop.run(w, mutant=name, limit=limit) for w in mutant.shown_by]
    row = {
        "mutant": name,
        "what": mutant.what,
        "workloads": list(mutant.shown_by),
        "images": sum(r.images for r in results),
        "failed": sum(r.failed for r in results),
        "seconds": round(sum(r.seconds for r in results), 1),
        "caught": all(r.images and r.failed for r in results),  # not: it did not run at all
        "first": next((f for r in results for f in r.failures), None),
    }
    verdict = "caught" if row["caught"] else "NOT CAUGHT"
    where = ", ".join(mutant.shown_by)
    print(f"{name:32} {row['failed']:5} of {row['images']:5} failed  {verdict:10} {where}")
    print(f"    {row['first']!s:.200}", flush=True)
    return row


def main() -> int:
    arguments = _arguments()
    if arguments.mutant == ["list"]:
        print("\n".join(f"{name:32} {mutant.what}" for name, mutant in MUTANTS.items()))
        return 0
    problem = unusable()
    if problem is not None:
        print(problem, file=sys.stderr)
        return 2
    warm()
    started, stopped = time.monotonic(), False
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    results: list[Result] = []
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="vecdb-images-", dir=memory) as directory:
        workshop = Workshop(Path(directory), arguments.jobs, arguments.keep)
        try:
            for name in arguments.mutant or []:
                rows.append(plant(workshop, name, arguments.limit))
            for name in [] if arguments.mutant else arguments.workload:
                results.append(open_images(workshop, name, arguments))
        except KeyboardInterrupt:
            stopped = True
    if arguments.mutant:
        missed: Any = [row["mutant"] for row in rows if not row["caught"]]
        figures: dict[str, Any] = {"mutants": rows, "missed": missed}
        print(f"{len(rows)} planted bugs, {len(rows) - len(missed)} caught")
    else:
        figures = {
            "workloads": [asdict(result) for result in results],
            "images": sum(result.images for result in results),
            "opened": sum(result.opened for result in results),
            "failed": sum(result.failed for result in results),
        }
        missed = figures["failed"]
        print(f"{figures['images']} distinct images, {figures['failed']} failed")
        if not figures["opened"] and not stopped:
            missed = "all"
            print("no image was opened: nothing was tested", file=sys.stderr)
    figures["seconds"] = round(time.monotonic() - started, 1)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 130 if stopped else int(bool(missed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", nargs="*", default=list(WORKLOADS), choices=WORKLOADS)
    parser.add_argument(
        "--limit", type=at_least_one, help="at most about this many images a workload"
    )
    parser.add_argument("--image", type=int, help="only this image of a workload")
    parser.add_argument("--recording", type=Path, help="a kept recording, not a new run")
    parser.add_argument("--mutant", nargs="+", help="plant these bugs ('all'; 'list': name them)")
    parser.add_argument(
        "--jobs", type=at_least_one, default=os.cpu_count() or 1, help="images at a time"
    )
    parser.add_argument("--keep", type=Path, help="where failing images go (default: a new place)")
    parser.add_argument("--json", type=file_to_write, help="write the figures here")
    arguments = parser.parse_args()
    if arguments.keep is None:
        arguments.keep = Path(tempfile.gettempdir()) / f"vecdb-images-failed-{os.getpid()}"
    if (arguments.recording or arguments.image is not None) and len(arguments.workload) != 1:
        parser.error("--image and --recording go with one --workload")
    unknown = set(arguments.mutant or []) - {*MUTANTS, "all", "list"}
    if arguments.mutant == ["all"]:
        arguments.mutant = list(MUTANTS)
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
