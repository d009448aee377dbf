"""What a vector is: how it comes in, what its numbers are, and what many of them are.

The only kind there is so far is dense: as many numbers as its name has dimensions.
"""

from vecdb.vectors.door import plain_query, to_matrix, to_query

__all__ = ["plain_query", "to_matrix", "to_query"]
