"""Whether searches find what they were asked to find: data, cells, measurements, judgements."""
