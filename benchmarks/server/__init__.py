"""Server: ``vecdb serve`` and other servers, asked the same on the same vectors."""
