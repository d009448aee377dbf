"""Kill loop: processes that write to one database are killed at any moment, round after round.

In each round some threads of a new process write, overwrite, edit and delete points, by id and by
filter, with options that are drawn anew: sync level, quantization, where things live, thresholds,
the optimizer at work or not, how much fits in memory. The process is killed (SIGKILL) while it
opens, writes, checkpoints, optimizes or closes. Then the directory, or a copy of it, is opened:
every write that had returned must be there, of each thread at most the one under way besides,
wholly, and nothing else; and scroll, retrieve, count, search and ``check`` must agree. Every 50
rounds begin with an empty directory.

    python -m proofs.kill --rounds 1000 --seed 7 --json kills.json
    python -m proofs.kill --again DIR      open the directory of a failure once more

Exit code 0: no round failed. A failure leaves its directory as it was before recovery.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from proofs import lives, long_run
from proofs.kill.after import check
from proofs.kill.rounds import Heard, Known, Round, write
from proofs.lives import Life, Message, answer, percentiles

ROUNDS_OF_A_DIRECTORY = 50
RECORD = "round.json"


class Failure(Exception):
    """A round ended as it must not."""

    def __init__(self, result: Message, heard: Heard) -> None:
        super().__init__(result["problem"])
        self.result = result
        self.heard = heard


class Figures:
    """What is counted."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.counts = Counter(
            dict.fromkeys(
                (
                    "rounds",
                    "lost",
                    "resurrected",
                    "duplicates",
                    "acknowledged",
                    "applied_though_not_acknowledged",
                    "replayed",
                    "torn_tails",
                    "indexed_segments",
                ),
                0,
            )
        )
        self.killed: Counter[str] = Counter()
        self.options: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self.recoveries: list[float] = []

    def count(self, round: Round, heard: Heard, result: Message) -> None:
        """One more round."""
        self.counts["rounds"] += 1
        self.counts["acknowledged"] += sum(heard.acked)
        self.counts["applied_though_not_acknowledged"] += sum(result.get("applied", []))
        self.counts["replayed"] += result.get("replayed", 0)
        self.counts["torn_tails"] += bool(result.get("torn"))
        for name in ("lost", "resurrected", "duplicates"):
            self.counts[name] += result.get(name, 0)
        self.counts["indexed_segments"] += result.get("indexed", 0)
        if "seconds" in result:
            self.recoveries.append(result["seconds"])
        codes = round.settings["quantization_config"]
        background = round.settings["optimizers_config"]["max_optimization_threads"]
        self.killed[_doing(heard)] += 1
        self.options[f"sync {round.sync}"] += 1
        self.options[f"threads {round.threads}"] += 1
        self.options[f"codes {codes if isinstance(codes, str) else next(iter(codes))}"] += 1
        self.options[f"optimizer {'on' if background else 'off'}"] += 1
        self.options[f"next round {'recovered' if round.in_place else 'crashed'}"] += 1

    def summary(self, seed: int, failure: str | None) -> Message:
        """The JSON of a run."""
        return {
            "tool": "kill",
            "seed": seed,
            "failure": failure,
            **self.counts,
            "recovery_ms": percentiles(self.recoveries),
            "killed_while": dict(sorted(self.killed.items())),
            "writes": dict(sorted(self.writes.items())),
            "options": dict(sorted(self.options.items())),
            "seconds": round(time.monotonic() - self.started, 1),
            **lives.setting(),
        }


def _doing(heard: Heard) -> str:
    """What the process was at when it was killed, as far as it had said."""
    said = heard.moments
    for moment, doing in (
        ("closed", "closed"),
        ("closing", "closing"),
        ("configured", "writing"),
        ("opened", "configuring"),
    ):
        if said[moment]:
            return doing
    return "opening"


def run_round(path: Path, known: Known, number: int) -> tuple[Heard, Message]:
    """Write until killed, then look what is there. Raises Failure; what crashed is then
    ``crashed`` beside ``path``."""
    round = known.round(number)
    heard = Heard([0] * round.threads)
    with Life(lambda say: write(path, known, round, say)) as life:
        while not (heard.reached(round) or heard.problem or life.over):
            messages = life.hear()
            heard.note(messages)
            if not messages and not life.over:
                heard.problem = life.hang()
        time.sleep(round.delay)
        heard.note(life.kill())
    copy = path.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    if path.exists():
        shutil.copytree(path, copy)
    kept, opened = (copy, path) if round.in_place else (path, copy)
    if heard.problem or life.exit_code != -signal.SIGKILL:
        result = {"problem": heard.problem or f"a writer ended with code {life.exit_code}"}
    else:
        result = answer(lambda: check(opened, known, round, heard))
    if "problem" in result:
        if kept.exists():
            kept.rename(path.with_name("crashed"))
        raise Failure(result, heard)
    return heard, result


def run(seed: int, rounds: int, work: Path, figures: Figures) -> str | None:
    """All rounds, until one fails; how, and how to replay it."""
    from tqdm import tqdm

    path = work / "db"
    known = Known(seed, 0)
    for number in tqdm(range(rounds), unit="round", mininterval=1.0):
        if number % ROUNDS_OF_A_DIRECTORY == 0:
            shutil.rmtree(path, ignore_errors=True)
            known = Known(seed, number)
        round = known.round(number)
        try:
            heard, result = run_round(path, known, number)
        except Failure as failure:
            figures.count(round, failure.heard, failure.result)
            return _keep(work, known, number, failure)
        figures.count(round, heard, result)
        figures.writes += known.advance(round, result)
    return None


def _keep(work: Path, known: Known, number: int, failure: Failure) -> str:
    """Write down what ``--again`` needs; what to tell the user."""
    record = {
        "seed": known.seed,
        "first": known.first,
        "history": known.history,
        "round": number,
        "acked": failure.heard.acked,
        "moments": failure.heard.moments,
        "problem": str(failure),
    }
    (work / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    return (
        f"seed {known.seed}, round {number}: {failure}\n"
        f"the directory as it was before recovery: {work / 'crashed'}\n"
        f"open it again: python -m proofs.kill --again {work}\n"
        f"draw the same rounds again: "
        f"python -m proofs.kill --seed {known.seed} --rounds {number + 1}"
    )


def again(kept: Path) -> str | None:
    """Check what a failure left once more, on a copy."""
    record = json.loads((kept / RECORD).read_text())
    known = Known(record["seed"], record["first"])
    for number, result in enumerate(record["history"], known.first):
        known.advance(known.round(number), result)
    round = known.round(record["round"])
    heard = Heard(record["acked"], Counter(record["moments"]))
    with tempfile.TemporaryDirectory(prefix="vecdb-kill-") as work:
        copy = Path(work) / "db"
        if (kept / "crashed").exists():
            shutil.copytree(kept / "crashed", copy)
        return answer(lambda: check(copy, known, round, heard)).get("problem")


def main() -> int:
    options = long_run.parser_of(__doc__, RECORD, rounds=1000).parse_args()
    lives.load()
    if options.again:
        return long_run.repeat(again, options.again)
    figures = Figures()
    return long_run.run(
        "kill", options, figures, lambda work: run(options.seed, options.rounds, work, figures)
    )


if __name__ == "__main__":
    sys.exit(main())
