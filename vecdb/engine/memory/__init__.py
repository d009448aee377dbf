"""Where the bytes of a collection are."""
