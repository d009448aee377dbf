"""Opening: where collections stand, and what is done to have one."""
