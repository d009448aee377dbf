"""The page of ``vecdb serve`` in a real browser."""
