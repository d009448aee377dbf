"""Processes that write and are killed, round after round."""
