"""Archives: one exact state of a collection as one file, made and read."""
