"""The best rows of one segment, by its index, its codes or its originals."""
