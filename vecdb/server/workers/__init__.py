"""Workers: several processes that are one server.

One process, the parent, listens and looks after the others. Worker 0 is the writer, which has the
database open; the others follow it, read only.
"""
