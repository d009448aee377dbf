"""Random histories of databases, for the kill loop and the soak; found by them on ``sys.path``."""
