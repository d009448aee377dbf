"""What a database must agree with: a model in plain Python, and random operations on both."""
