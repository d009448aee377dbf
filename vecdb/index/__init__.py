"""Two indexes: the clustered one of dense vectors, and the inverted one of sparse vectors.

Arrays in, arrays out; no files, no threads. Of the clustered index `clustering` finds partitions of
near rows, `sketch` makes short codes of what sets a row apart from its partition, `index` answers
queries with both, and `calibration` measures how much effort which recall takes.

Importing this package does not load numba; building and searching do.
"""

from __future__ import annotations

from vecdb.index.clustered.clustering import Clustering, fit_clustering
from vecdb.index.clustered.effort import Effort
from vecdb.index.clustered.index import ClusteredIndex, Found, Spread
from vecdb.index.sparse.building import FEWEST_ROWS, Inverted
from vecdb.index.sparse.terms import Terms

__all__ = [
    "FEWEST_ROWS",
    "ClusteredIndex",
    "Clustering",
    "Effort",
    "Found",
    "Inverted",
    "Spread",
    "Terms",
    "fit_clustering",
]
