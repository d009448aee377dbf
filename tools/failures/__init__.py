"""The parts of ``io_errors.py``: failing disks, workloads, and what must be true afterwards."""
