"""A power loss at every system call: recordings, disk images, and what each may hold."""
