"""Payloads: which points a filter lets through."""
