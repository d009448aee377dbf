"""The four integrations that most programs use, in one environment: our flows, and their pages.

    python -m proofs.integrations.largest

Two minutes and the network. All of them, by their own tests: ``python -m proofs.integrations``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from proofs.integrations import pages
from proofs.integrations.catalog import Integration
from proofs.integrations.environments import Environment
from proofs.integrations.outcomes import Comparison, compare, read, table

FLOWS = {
    "langchain": "test_langchain.py",
    "llama-index": "test_llama_index.py",
    "haystack": "test_haystack.py",
    "mcp": "test_mcp_server_qdrant.py",
}


def measure(directory: Path) -> Iterator[Comparison]:
    """The flows of each, on Qdrant's local mode and on vecdb. A page that fails is a failure, too.
    Raises Trouble if there is no environment."""
    requirements = sorted({each for page in FLOWS for each in pages.REQUIREMENTS[page]})
    together = Integration("largest", tuple(requirements), flows="")
    for name, flows in FLOWS.items():
        environment = Environment(replace(together, flows=flows), directory)
        environment.prepare()
        on_qdrant, on_vecdb = (read(environment.test(on)) for on in ("qdrant", "vecdb"))
        found = compare(name, on_qdrant, on_vecdb)
        said = pages.run(name, environment, directory / "pages")
        if said is not None:
            found.failures[f"docs/integrations/{name}.md"] = said
        yield found


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="vecdb-integrations-") as directory:
        found = list(measure(Path(directory)))
    print(table(found))
    return int(not all(each.is_well for each in found))


if __name__ == "__main__":
    sys.exit(main())
