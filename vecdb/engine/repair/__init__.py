"""What is sound, and what of the rest can be saved."""
