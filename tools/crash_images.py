"""Power-loss test: every disk image POSIX allows after a crash must recover.

A workload runs under strace, so that LMDB's own writes are seen too, and prints an
acknowledgement after each operation. At every system call that changes the disk the possible
images are enumerated (``crash_model.py``), written out, and opened by a child process. Each must
hold all acknowledged operations, plus at most the one that was under way, whole; nothing else;
and ``check`` must find it clean.

    python tools/crash_images.py [--workload NAME ...] [--limit N] [--mutant NAME] [--json FILE]

``--mutant`` plants a known bug in the protocol (``--mutant list`` names them): then images must
fail, or the harness itself is broken. Exit code 0: no image failed (with a mutant: some did).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from crash_model import Disk, Image, Tracer, choices  # noqa: E402
from crash_mutants import MUTANTS  # noqa: E402
from crash_workloads import WORKLOADS, State, collections_after, read, states  # noqa: E402

_CALLS = (
    "openat,write,pwrite64,writev,pwritev,fsync,fdatasync,rename,renameat,renameat2,"
    "unlink,unlinkat,rmdir,ftruncate,mkdir,mkdirat,lseek"
)


@dataclass
class Result:
    """Figures of one workload."""

    workload: str
    calls: int = 0
    images: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def record(name: str, work: Path, mutant: str | None) -> tuple[Path, Path]:
    """Run a workload under strace. Returns the trace and the directory as it was before."""
    path, start, trace = work / "db", work / "start", work / "trace"
    program = [sys.executable, str(HERE / "crash_workloads.py"), name, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([*program, "--setup"], check=True, env=environment)
    shutil.copytree(path, start)
    if mutant is not None:
        program = [sys.executable, str(HERE / "crash_mutants.py"), mutant, *program[1:]]
    strace = ["strace", "-f", "-y", "-xx", "-s", "4000000", "-e", f"trace={_CALLS}"]
    subprocess.run(
        [*strace, "-o", str(trace), *program],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    return trace, start


def images(trace: Path, start: Path, root: Path) -> Iterator[tuple[int, int, Image]]:
    """(calls so far, last acknowledgement, image) of every distinct image."""
    disk = Disk(str(root))
    disk.load(start)
    seen: set[tuple[bytes, int]] = set()
    for count, _ in enumerate(Tracer(disk).run(trace), 1):
        pending = [n for n, op in enumerate(disk.ops) if not op.durable]
        for chosen, torn in choices(pending, disk.ops):
            image = Image(disk.ops, chosen, torn)
            key = (image.digest(), disk.acked)
            if key not in seen:
                seen.add(key)
                yield count, disk.acked, image


def check(path: Path, name: str, acked: int, expected: list[State]) -> str | None:
    """Open an image in a child; what is wrong with it, or None. A signal is a finding."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            problem = _problem(path, name, acked, expected)
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"
        os.write(writer, (problem or "").encode()[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        message = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return message or None


def _problem(path: Path, name: str, acked: int, expected: list[State]) -> str | None:
    from vecdb import VecDB
    from vecdb.engine.check import check_database

    workload = WORKLOADS[name]
    steps = max(acked, 0)
    with VecDB(path) as db:
        found = read(db)
        others = {c.name for c in db.get_collections().collections} - {"c"}
    allowed = expected[steps : steps + 2]
    if found not in allowed:
        return f"{len(found)} points; expected {' or '.join(str(len(s)) for s in allowed)}: " + (
            _difference(found, allowed[0])
        )
    names = [collections_after(workload, n) for n in (steps, steps + 1)]
    if others not in names:
        return f"collections {sorted(others)}, expected {' or '.join(map(str, names))}"
    report = check_database(path)
    return None if report.ok else f"check: {report.problems[0]}"


def _difference(found: State, expected: State) -> str:
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    changed = sorted(k for k in found.keys() & expected.keys() if found[k] != expected[k])
    return f"missing {missing[:5]}, unexpected {extra[:5]}, different {changed[:5]}"


def run(name: str, *, mutant: str | None = None, limit: int | None = None) -> Result:
    """All images of one workload, or ``limit`` of them spread evenly."""
    started = time.monotonic()
    result = Result(name)
    expected = states(WORKLOADS[name])
    with tempfile.TemporaryDirectory(prefix="vecdb-images-") as directory:
        work = Path(directory)
        trace, start = record(name, work, mutant)
        every = 1
        if limit is not None:
            total = sum(1 for _ in images(trace, start, work / "db"))
            every = max(1, total // limit)
        for number, (count, acked, image) in enumerate(images(trace, start, work / "db")):
            result.calls = count
            if number % every:
                continue
            image.write(work / "image")
            result.images += 1
            problem = check(work / "image", name, acked, expected)
            if problem is not None:
                result.failures.append(f"call {count}, acknowledged {acked}: {problem}")
    result.seconds = round(time.monotonic() - started, 1)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--workload", nargs="*", default=sorted(WORKLOADS), choices=WORKLOADS)
    parser.add_argument("--limit", type=int, help="at most about this many images a workload")
    parser.add_argument("--mutant", help="plant this bug ('list': name them)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    if arguments.mutant == "list":
        print("\n".join(f"{name}: {m.__doc__}" for name, m in MUTANTS.items()))
        return 0
    if shutil.which("strace") is None:
        print("strace is needed and not installed", file=sys.stderr)
        return 2
    results = []
    for name in arguments.workload:
        result = run(name, mutant=arguments.mutant, limit=arguments.limit)
        results.append(result)
        print(
            f"{name:12} {result.calls:5} calls {result.images:6} images "
            f"{len(result.failures):5} failed {result.seconds:7.1f} s",
            flush=True,
        )
        for failure in result.failures[:5]:
            print(f"    {failure}", flush=True)
    images_total = sum(r.images for r in results)
    failed = sum(len(r.failures) for r in results)
    print(f"{images_total} distinct images, {failed} failed")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    return int((failed > 0) != (arguments.mutant is not None))


if __name__ == "__main__":
    sys.exit(main())
