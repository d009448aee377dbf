"""Suites: Qdrant's own tests of servers and clients, run on ``vecdb serve``."""
