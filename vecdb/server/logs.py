"""Logs: what a server writes to standard error."""

from __future__ import annotations

import logging


def log_to_stderr(access: bool) -> None:
    """Warnings and errors; ``access``: a line of JSON for each request, too."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("vecdb").addHandler(handler)
    if access:
        plain = logging.StreamHandler()
        log = logging.getLogger("vecdb.server.access")
        log.addHandler(plain)
        log.propagate = False
        log.setLevel(logging.INFO)
