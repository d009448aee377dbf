"""One long random life, with restarts and crashes, compared with a model."""
