"""Exceptions on their way to the coroutines that wait for them."""

from __future__ import annotations

import copy


def raisable(error: BaseException) -> BaseException:
    """The error as a coroutine may raise it: for a StopIteration, which asyncio's futures do not
    take, a RuntimeError that it caused, as Python has it in coroutines."""
    if not isinstance(error, StopIteration):
        return error
    raised = RuntimeError("a call raised StopIteration")
    raised.__cause__ = error
    return raised


def handed_over(error: BaseException) -> BaseException:
    """The error for a coroutine to raise: a copy, if it can be copied. What is raised refers to the
    frames it goes through, and by them to the coroutine's database; the thread that has met the
    error may have it for a moment longer."""
    try:
        own = copy.copy(error)
    except Exception:  # its class takes other arguments
        return raisable(error)
    if type(own) is not type(error) or own.args != error.args:
        return raisable(error)
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__
    return raisable(own.with_traceback(error.__traceback__))
