"""The inverted index of sparse vectors: for each index that occurs, the rows that have it."""
