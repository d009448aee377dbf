"""Flows: what users of a program do with it, for programs that publish no tests and the largest.

Each file runs in the environment of its program, twice; there is no network, no model and no
server, so embeddings are made up. Nothing in a flow knows which client it runs on.
"""
