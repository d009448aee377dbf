"""Server soak: ``vecdb serve`` and callers that write, read, cancel and hang up, for a long time.

    python -m proofs.server_soak                      ten minutes
    python -m proofs.server_soak --grpc-engine h2     with the other engine of gRPC
    python -m proofs.server_soak --workers 2          of several processes
    python -m proofs.server_soak --minutes 60 --seed 7 --json figures.json

At once: writers and readers with Qdrant's own client over HTTP and over gRPC, which give up a third
of their calls, some by a deadline; and rude ones, which send half a head, half a body or half a
snapshot, ask for everything and do not read it or read it slowly, break off a download, or leave
no window for an answer. At twenty rests the server has no request, read or task under way that
nobody waits for, and what the writers were told of is there. At the end it holds no more files and
threads than at first, nor memory but for the points', ends well at a signal, and its database is
whole.

Exit code 0: all of that held.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from proofs.arguments import at_least_one, file_to_write
from proofs.server_soak.soak import soak


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number of minutes above 0, got {text!r}")
    return minutes


def main() -> int:
    """Run one soak and say what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=_minutes, default=10)
    parser.add_argument("--grpc-engine", choices=("grpcio", "h2"), default="grpcio")
    parser.add_argument("--workers", type=at_least_one, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=file_to_write, help="the figures, as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vecdb-soak-") as directory:
        found = soak(
            options.minutes * 60,
            Path(directory) / "db",
            engine=options.grpc_engine,
            workers=options.workers,
            seed=options.seed,
            tell=lambda line: print(line, file=sys.stderr, flush=True),
        )
    if options.json is not None:
        options.json.write_text(json.dumps(found.summary(), indent=1) + "\n")
    for what, count in sorted(found.done.items()):
        print(f"{count:9,}  {what}")
    print(f"{found.answered:9,}  writes that were answered")
    print(f"{len(found.rests):9,}  rests: first {found.rests[0]}, last {found.rests[-1]}")
    for problem in found.problems:
        print(f"PROBLEM: {problem}")
    return int(bool(found.problems))


if __name__ == "__main__":
    sys.exit(main())
