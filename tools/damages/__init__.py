"""The parts of ``damage.py``: databases, ways to damage them, and what may come of it."""
