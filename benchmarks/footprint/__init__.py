"""What memory each mode takes, and what it is worth: ``python -m benchmarks.footprint``."""
