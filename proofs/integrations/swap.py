"""A plugin for pytest, ``-p proofs.integrations.swap``: Qdrant's clients are vecdb's.

Loaded before any test is imported. An address is refused, as no server is there either.
"""

from __future__ import annotations

from vecdb.qdrant import install

install()
