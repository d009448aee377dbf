"""Integrations: programs written for Qdrant's client, on Qdrant's local mode and on vecdb.

    python -m proofs.integrations                          all of them: half an hour, the network
    python -m proofs.integrations --only haystack agno page/mem0
    python -m proofs.integrations --directory DIR          keeps the environments, and uses them
    python -m proofs.integrations --list

Each program is installed with pinned versions in a virtual environment of its own. Its tests (those
that its sources have, else flows of ours) run twice: with Qdrant's client as it is, and with
``vecdb.qdrant.install()``. Counted are the tests that pass. One that passes on Qdrant's local mode
alone is a failure. Then the programs of docs/integrations run, a page of it in an environment of
its own.

Exit code 0: there was no failure.
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
from proofs.integrations import pages
from proofs.integrations.catalog import INTEGRATIONS, Integration
from proofs.integrations.environments import Environment, Trouble
from proofs.integrations.outcomes import Comparison, compare, read, table


def measure(integration: Integration, directory: Path) -> Comparison:
    """One program on both."""
    environment = Environment(integration, directory)
    try:
        environment.prepare()
        on_qdrant, on_vecdb = (read(environment.test(on)) for on in ("qdrant", "vecdb"))
    except (Trouble, subprocess.TimeoutExpired) as error:
        return Comparison(integration.name, 0, 0, trouble=str(error))
    return compare(integration.name, on_qdrant, on_vecdb)


def read_page(page: str, directory: Path) -> Comparison:
    """The programs of one page."""
    found = Comparison(f"page/{page}", 0, 0)
    try:
        said = pages.run(page, pages.environment_of(page, directory), directory / "pages")
    except (Trouble, subprocess.TimeoutExpired) as error:
        found.trouble = str(error)
        return found
    if said is None:
        found.qdrant = found.vecdb = 1  # one test, which needs no Qdrant to say what it should do
    else:
        found.failures[f"docs/integrations/{page}.md"] = said
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [each.name for each in INTEGRATIONS]
    names += [f"page/{page}" for page in pages.REQUIREMENTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--directory", type=Path, help="for the environments; kept")
    parser.add_argument("--json", type=file_to_write, help="what was found, as JSON")
    parser.add_argument("--list", action="store_true", help="the programs and their versions")
    options = parser.parse_args()
    if options.list:
        for each in INTEGRATIONS:
            print(f"{each.name:20} {', '.join(each.requirements)}")
        for page, requirements in pages.REQUIREMENTS.items():
            print(f"{f'page/{page}':20} {', '.join(requirements)}")
        return 0
    found = []
    with ExitStack() as stack:
        if options.directory is None:
            temporary = tempfile.TemporaryDirectory(prefix="vecdb-integrations-")
            directory = Path(stack.enter_context(temporary))
        else:
            directory = options.directory.absolute()
        for each in INTEGRATIONS:
            if each.name in options.only:
                print(f"=== {each.name}", flush=True)
                found.append(measure(each, directory))
        for page in pages.REQUIREMENTS:
            if f"page/{page}" in options.only:
                print(f"=== page/{page}", flush=True)
                found.append(read_page(page, directory))
    print(table(found))
    if options.json is not None:
        options.json.write_text(json.dumps([each.summary() for each in found], indent=1) + "\n")
    return int(not all(each.is_well for each in found))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
