"""Damaged files: databases, ways to damage them, and what may come of it."""
