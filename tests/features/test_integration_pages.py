"""LangChain, LlamaIndex, Haystack and Qdrant's MCP server run on vecdb, and their pages are true.

The programs are installed from PyPI, so this is slow and takes the network.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proofs.integrations import catalog, largest, pages
from proofs.integrations.environments import ROOT, Trouble


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_largest_integrations_do_on_vecdb_what_they_do_on_qdrant(disk: Path) -> None:
    try:
        found = list(largest.measure(disk))
    except Trouble as trouble:
        if re.search(r"NameResolutionError|NewConnectionError|ConnectTimeout", str(trouble)):
            pytest.skip("needs the network: pip reaches no index of packages")
        raise
    assert [each.name for each in found] == list(largest.FLOWS)
    for each in found:
        assert each.is_well, f"{each.name}: {each.failures}"
        assert each.vecdb >= 5, each.name


def test_every_page_is_run() -> None:
    """By its name, with pinned packages; and it is in the index."""
    names = {path.stem for path in (ROOT / "docs" / "integrations").glob("*.md")}
    assert names == pages.REQUIREMENTS.keys()
    index = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(integrations/([\w-]+)\.md\)", index)) == names
    for requirements in pages.REQUIREMENTS.values():
        assert all("==" in each for each in requirements)


def test_a_page_has_the_versions_that_the_programs_are_tested_with() -> None:
    tested = {each for integration in catalog.INTEGRATIONS for each in integration.requirements}
    named = {each.partition("==")[0] for each in tested} - {"qdrant-client"}
    for page, requirements in pages.REQUIREMENTS.items():
        for each in requirements:
            assert each in tested or each.partition("==")[0] not in named, (page, each)
