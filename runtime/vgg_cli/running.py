"""Run a command: errors become messages and exit codes here, and nowhere else."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import time
import traceback
import warnings
from types import FrameType

import click

from vgg_cli.flags import with_flags
from vgg_cli.output import echo, printable, printable_lines
from vgg_runtime.errors import MissingCapabilityError, VggDeployError

__all__ = ["run_command"]

# The signals by which service managers, container runtimes and closed terminals end a process.
_ENDING_SIGNALS = ("SIGTERM", "SIGHUP")

# Removing half-written files takes less.
_UNDOING_SECONDS = 5.0

# stdout is on a full disk, beyond a size limit, or on a device that is gone.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# The code that a shell reports for a process ended by SIGPIPE; Windows has no such signal.
_READER_LEFT = 128 + 13


class _Ended(BaseException):
    """A signal ended the command. Not a SystemExit, because the user's own code is not allowed to raise that."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def run_command(command: click.Command) -> None:
    """Run ``command`` on the process's arguments and exit with its code, 0 to 5."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names and labels may not fit its encoding
    _make_warnings_printable()
    _end_orderly_by_signals()
    try:
        sys.exit(_exit_code_of(command))
    except (click.exceptions.Exit, _Ended) as leaving:
        sys.exit(leaving.exit_code)
    except click.ClickException as error:  # click's own: usage, exit code 2
        shown = printable_lines if isinstance(error, click.exceptions.NoArgsIsHelpError) else printable
        error.message = shown(error.message)  # type: ignore[misc]  # final, but this is where it is shown
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        echo("interrupted; nothing was written.", err=True)
        sys.exit(130)
    except VggDeployError as error:
        echo(*f"error: {with_flags(error.message, command)}".split("\n"), err=True)
        if error.hint:
            echo(*f"       {with_flags(error.hint, command)}".split("\n"), err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename is None:
            _drop_what_is_left_of_stdout()
            echo(f"error: the output cannot be written: {error.strerror}.", err=True)
            sys.exit(MissingCapabilityError.exit_code)
        echo(*traceback.format_exc().rstrip().split("\n"), err=True)
        echo("error: internal error in vgg-deploy. Please report it with the traceback above.", err=True)
        sys.exit(1)


def _make_warnings_printable() -> None:
    formatwarning = warnings.formatwarning
    warnings.formatwarning = lambda *details: printable_lines(formatwarning(*details))


def _exit_code_of(command: click.Command) -> int:
    """Run ``command``; end quietly if nobody reads stdout any more, as after ``| head``."""
    stdout = sys.stdout
    try:
        result = command.main(standalone_mode=False)
        if sys.stdout is not None:  # None if the caller closed it
            sys.stdout.flush()  # now, while an error can still be reported
    except BrokenPipeError:
        _drop_what_is_left_of_stdout()
        raise _Ended(_READER_LEFT) from None
    except SystemExit as leaving:
        # click and rich exit on their own with code 1: click after replacing stdout, rich in its own handler.
        if sys.stdout is not stdout or isinstance(leaving.__context__, BrokenPipeError):
            raise _Ended(_READER_LEFT) from None
        raise
    return result if isinstance(result, int) else 0


def _end_orderly_by_signals() -> None:
    """Turn signals that would end the process at once into an exception, so that half-done work is undone."""
    present = [getattr(signal, name) for name in _ENDING_SIGNALS if hasattr(signal, name)]  # Windows has no SIGHUP

    undoing_since: list[float] = []

    def leave(number: int, frame: FrameType | None) -> None:
        if not undoing_since:
            undoing_since.append(time.monotonic())
            raise _Ended(128 + number)  # as a shell reports it
        # A second one would disturb the clean-up, unless that is long over: then something swallowed the first one.
        if time.monotonic() - undoing_since[0] > _UNDOING_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in present:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it, and it stays ignored
            signal.signal(number, leave)


def _drop_what_is_left_of_stdout() -> None:
    """Otherwise the interpreter tries to write it again on exit, and shows a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
