"""What the long random runs have in common: options, a place to work, lives, figures.

Lives are followed to their end. Figures are printed, written and judged when all is done.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from proofs import lives
from proofs.arguments import at_least_one, directory_with, file_to_write
from proofs.lives import Life, Message, Say

Heed = Callable[[list[Message]], int]
"""Takes what a life has said; how far it is now."""


class Figures(Protocol):
    """What is counted in a run."""

    def summary(self, seed: int, failure: str | None) -> Message:
        """The JSON of a run."""


def parser_of(description: str | None, record: str | None = None, **lengths: int) -> Any:
    """The options: how long (each with its default), from which seed, and where to. ``record``: the
    file by which a directory is known that a failure has left, where a failure can be repeated."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, usual in lengths.items():
        parser.add_argument(
            f"--{name}", type=at_least_one, default=usual, help=f"(default {usual})"
        )
    parser.add_argument("--seed", type=int, default=1, help="of everything drawn (default 1)")
    parser.add_argument("--json", type=file_to_write, help="write the figures here")
    parser.add_argument("--keep", type=Path, help="where to work, and to keep a failure")
    if record is not None:
        parser.add_argument(
            "--again", type=directory_with(record), metavar="DIR", help="repeat what a failure kept"
        )
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, of a run of so many operations with so many restarts."""
    options = parser.parse_args()
    if not 1 <= options.restarts < options.operations:
        parser.error("--restarts: expected at least 1, and fewer than --operations")
    return options


def follow(work: Callable[[Say], None], heed: Heed, *, killed: bool) -> str | None:
    """Live a life to its end, which is a SIGKILL if it is to be ``killed``; what is wrong with the
    end. A life that says nothing new for long hangs."""
    problem = None
    with Life(work) as life:
        silence, before = 0, heed([])
        while not life.over:
            reached = heed(life.hear(seconds=1))
            silence = silence + 1 if reached == before else 0
            before = reached
            if silence == lives.PATIENCE:
                problem = life.hang()
        heed(life.listen())
    expected = -signal.SIGKILL if killed else 0
    if problem is None and life.exit_code != expected:
        problem = f"the process ended with {life.exit_code}, not {expected}"
    return problem


def repeat(again: Callable[[Path], str | None], kept: Path) -> int:
    """Do what failed once more; the exit code."""
    problem = again(kept)
    print(problem or "all is well", file=sys.stderr if problem else sys.stdout)
    return int(bool(problem))


def run(
    name: str,
    options: argparse.Namespace,
    figures: Figures,
    work: Callable[[Path], str | None],
    *,
    also_wrong: Callable[[Message], list[str]] = lambda summary: [],
) -> int:
    """All of it, in a directory of its own, that is kept with a failure; the exit code. ``work``
    returns what failed, and how to replay it. A run that did not fail may be ``also_wrong``.
    Ctrl-C ends the work. It does not keep a failure that was found by then from being told."""
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"vecdb-{name}-", dir=options.keep))
    failure, stopped = None, False
    try:
        failure = work(directory)
    except KeyboardInterrupt:
        stopped = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not failure:
        shutil.rmtree(directory, ignore_errors=True)
    summary = figures.summary(options.seed, failure)
    print(json.dumps(summary, indent=1))
    if options.json:
        options.json.write_text(json.dumps(summary, indent=1) + "\n")
    problems = [failure] if failure else also_wrong(summary)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 130 if stopped else int(bool(problems))
