"""How fast, how large and how exact: ``python -m benchmarks`` measures vecdb and its peers."""
