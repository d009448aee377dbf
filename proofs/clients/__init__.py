"""Clients: programs in other languages, on a server of vecdb."""
