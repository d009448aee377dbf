"""Writing: points at the door, operations in the log, checkpoints."""
