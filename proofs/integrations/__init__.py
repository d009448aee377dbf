"""Integrations: published programs for Qdrant's client, run on its local mode and on vecdb.

What one of them can do there and not here is a failure of ``vecdb.qdrant``.
"""
