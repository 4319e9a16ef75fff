"""Errors that a signal handler of the caller's raised, in whatever call was under way."""

from __future__ import annotations

import signal
from functools import partial
from types import CodeType
from typing import Any

__all__ = ["reraise_from_signal_handler"]


def reraise_from_signal_handler(error: Exception) -> None:
    """Raise ``error`` again if a signal handler raised it; for code that turns the errors of a library into its own.

    Python runs handlers between any two instructions of the main thread, so a time limit of the caller's can end any
    call. It is recognised by the handler's code among the frames that the error has passed.
    """
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in handlers:
            raise error
        traceback = traceback.tb_next


def _code(handler: Any) -> CodeType | None:
    """The code of a function, a method, a partial or an object that can be called; None for the system's handlers."""
    while isinstance(handler, partial):
        handler = handler.func
    for function in (getattr(handler, "__func__", handler), getattr(type(handler), "__call__", None)):  # noqa: B004
        if isinstance(code := getattr(function, "__code__", None), CodeType):
            return code
    return None
