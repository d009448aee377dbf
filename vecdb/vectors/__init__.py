"""What a vector is: how it comes in, what its numbers are, and what many of them are.

Dense: as many numbers as its name has dimensions. Sparse: some of 2^32 numbers, with their indices.
A multivector: any number of dense vectors, one or more.
"""

from vecdb.vectors.door import plain_query, to_matrix, to_query
from vecdb.vectors.multi_door import to_multi
from vecdb.vectors.sparse_door import to_sparse

__all__ = ["plain_query", "to_matrix", "to_multi", "to_query", "to_sparse"]
