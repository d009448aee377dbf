"""The index by partitions: how it is fitted, measured and asked."""
