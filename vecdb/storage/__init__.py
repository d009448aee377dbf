"""Bytes on disk: the one door (fs), names, formats, the WAL, the catalog, and segments."""
