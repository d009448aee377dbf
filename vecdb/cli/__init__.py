"""The ``vecdb`` command, a module for each of its commands; ``main`` has the list.

A command's module imports the engine, numba and their like in the functions that need them: help
and mistakes on the command line are answered without waiting for them.
"""
