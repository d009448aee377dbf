"""The clustered index: partitions of near rows, a sketch of each row, and how much of both to use.

Arrays in, arrays out; no files, no threads. `clustering` finds the partitions, `sketch` makes short
codes of what sets a row apart from its partition, `index` answers queries with both, and
`calibration` measures how much effort which recall takes.

Importing this package does not load numba; building and searching do.
"""

from __future__ import annotations

from vecdb.index.clustered.clustering import Clustering, fit_clustering
from vecdb.index.clustered.effort import Effort
from vecdb.index.clustered.index import ClusteredIndex, Found, Spread

__all__ = ["ClusteredIndex", "Clustering", "Effort", "Found", "Spread", "fit_clustering"]
