"""Many databases, handles and readers in one process, for a long time."""
