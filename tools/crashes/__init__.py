"""The parts of ``crash_images.py``: recordings, disk images, and what each may hold."""
