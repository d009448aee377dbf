"""Proofs that vecdb keeps its promises: programs that take power, processes, disks and data away.

Each is run as ``python -m proofs.NAME``, prints what replays a failure, and keeps the database as
it was before it was opened again; ``python -m proofs.prove`` runs them all.
"""
