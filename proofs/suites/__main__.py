"""Suites: Qdrant's own tests, on ``vecdb serve``.

    python -m proofs.suites openapi --checkout DIR    DIR: a checkout of qdrant/qdrant
    python -m proofs.suites congruence congruence-grpc client --checkout DIR
    python -m proofs.suites js-rest js-grpc --checkout DIR
    python -m proofs.suites --list                    the suites and their sources

Nothing of the suites is in this repository: DIR is a public checkout at the commit that ``--list``
names. What a suite needs is installed with pinned versions (the network, minutes). Each runs on a
server of its own, at ports 6333 and 6334, which must be free: the tests ask there. A test that
fails must have a reason that ``catalog`` knows: it needs what vecdb has not, and the server said
so, or vecdb does something in another way on purpose.

Exit code 0: each failure has a reason.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from proofs.arguments import file_to_write
from proofs.suites.catalog import SUITES, Suite
from proofs.suites.outcomes import Outcome, read, table
from proofs.suites.running import Trouble, run


def measure(suite: Suite, checkout: Path, directory: Path) -> Outcome:
    """Run one suite."""
    try:
        return read(suite, run(suite, checkout, directory))
    except (Trouble, subprocess.TimeoutExpired) as error:
        return Outcome(suite.name, trouble=str(error))


def main() -> int:
    """Run what is asked for, and say what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [suite.name for suite in SUITES]
    parser.add_argument("suites", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--checkout", type=Path, help="the sources of the suites")
    parser.add_argument("--directory", type=Path, help="for what they need; kept")
    parser.add_argument("--json", type=file_to_write, help="what was found, as JSON")
    parser.add_argument("--list", action="store_true", help="the suites and their sources")
    options = parser.parse_args()
    if options.list:
        for suite in SUITES:
            print(f"{suite.name:16} https://github.com/{suite.source}")
        return 0
    unknown = set(options.suites) - set(names)
    if unknown or not options.suites:
        parser.error(f"expected suites of {', '.join(names)}")
    if options.checkout is None or not options.checkout.is_dir():
        parser.error("expected --checkout DIR, a checkout of the source that --list names")
    found = []
    with ExitStack() as stack:
        directory = options.directory
        if directory is None:
            temporary = tempfile.TemporaryDirectory(prefix="vecdb-suites-")
            directory = Path(stack.enter_context(temporary))
        for suite in SUITES:
            if suite.name in options.suites:
                print(f"=== {suite.name}", flush=True)
                found.append(measure(suite, options.checkout, directory.absolute()))
    print(table(found))
    if options.json is not None:
        options.json.write_text(json.dumps([each.summary() for each in found], indent=1) + "\n")
    return int(not all(each.is_well for each in found))


if __name__ == "__main__":
    sys.exit(main())
