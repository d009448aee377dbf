"""Exceptions on their way to the coroutines that wait for them."""

from __future__ import annotations


def raisable(error: BaseException) -> BaseException:
    """The error as a coroutine may raise it: for a StopIteration, which asyncio's futures do not
    take, a RuntimeError that it caused, as Python has it in coroutines."""
    if not isinstance(error, StopIteration):
        return error
    raised = RuntimeError("a call raised StopIteration")
    raised.__cause__ = error
    return raised
