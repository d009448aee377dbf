"""Reading: from a view and raw arguments to points."""
