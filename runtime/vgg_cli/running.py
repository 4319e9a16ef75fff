"""Run a command: errors become messages and exit codes here, and nowhere else."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import time
import traceback
from types import FrameType

import click

from vgg_cli.flags import with_flags
from vgg_runtime.errors import MissingCapabilityError, VggDeployError

__all__ = ["run_command"]

# What service managers, container runtimes and closed terminals end a process by.
_ENDING_SIGNALS = ("SIGTERM", "SIGHUP")

# Removing what is half written takes less.
_UNDOING_SECONDS = 5.0

# stdout leads to a full disk, a limit of its size, or a device that is gone.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# As a shell reports a process that SIGPIPE ended; Windows has no such signal.
_READER_LEFT = 128 + 13


class _Ended(BaseException):
    """A signal ended the command. No SystemExit, which code of the user's own is not allowed to end it by."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def run_command(command: click.Command) -> None:
    """Run ``command`` on the process's arguments and exit with the code of the design: 0 to 5."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be no text, labels beyond the terminal's
    _end_orderly_by_signals()
    try:
        sys.exit(_exit_code_of(command))
    except (click.exceptions.Exit, _Ended) as leaving:
        sys.exit(leaving.exit_code)
    except click.ClickException as error:  # click's own: usage, exit code 2
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing was written.", err=True)
        sys.exit(130)
    except VggDeployError as error:
        click.echo(f"error: {with_flags(error.message, command)}", err=True)
        if error.hint:
            click.echo(f"       {with_flags(error.hint, command)}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename is None:
            _drop_what_is_left_of_stdout()
            click.echo(f"error: the output cannot be written: {error.strerror}.", err=True)
            sys.exit(MissingCapabilityError.exit_code)
        traceback.print_exc()
        click.echo("error: internal error in vgg-deploy. Please report it with the traceback above.", err=True)
        sys.exit(1)


def _exit_code_of(command: click.Command) -> int:
    """Run ``command``; where nobody reads stdout any more, as after ``| head``, end it quietly."""
    stdout = sys.stdout
    try:
        result = command.main(standalone_mode=False)
        if sys.stdout is not None:  # None where the caller closed it
            sys.stdout.flush()  # now, while an error can still be told
    except BrokenPipeError:
        _drop_what_is_left_of_stdout()
        raise _Ended(_READER_LEFT) from None
    except SystemExit as leaving:
        # click and rich leave by themselves with exit code 1: click once it replaced stdout, rich in its own handler.
        if sys.stdout is not stdout or isinstance(leaving.__context__, BrokenPipeError):
            raise _Ended(_READER_LEFT) from None
        raise
    return result if isinstance(result, int) else 0


def _end_orderly_by_signals() -> None:
    """Let what is half done be undone, as an exception does, where a signal would end the process at once."""
    present = [getattr(signal, name) for name in _ENDING_SIGNALS if hasattr(signal, name)]  # Windows has no SIGHUP

    undoing_since: list[float] = []

    def leave(number: int, frame: FrameType | None) -> None:
        if not undoing_since:
            undoing_since.append(time.monotonic())
            raise _Ended(128 + number)  # as a shell reports it
        # A second one would disturb the undoing, unless that is long done: something kept the first one to itself.
        if time.monotonic() - undoing_since[0] > _UNDOING_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in present:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has it ignored, and so it stays
            signal.signal(number, leave)


def _drop_what_is_left_of_stdout() -> None:
    """Else the interpreter tries to write that once more when it ends, and shows a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
