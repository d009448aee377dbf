"""What happens, in order: writing, searching, checkpoints, optimizing, recovery."""
