"""What ``recall.py`` is made of: data, cells, measurements, judgements, the report."""
