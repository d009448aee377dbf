"""Disks that fail or are full: faults, workloads, and what must be true afterwards."""
