"""The optimizer: the form of segments that is configured, built in the background."""
