"""What the commands share: errors become messages and exit codes here, and nowhere else."""

from __future__ import annotations

import io
import json
import sys
import traceback
from typing import Any

import click

from vgg_runtime.errors import VggDeployError

__all__ = ["echo_json", "run"]


def run(command: click.Command) -> None:
    """Run ``command`` on the process's arguments and exit with the code of the design: 0 to 5."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be no text, labels beyond the terminal's
    try:
        result = command.main(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except click.ClickException as error:  # click's own: usage, exit code 2
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing was written.", err=True)
        sys.exit(130)
    except VggDeployError as error:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"       {error.hint}", err=True)
        sys.exit(error.exit_code)
    except Exception:
        traceback.print_exc()
        click.echo("error: this is a fault of vgg-deploy; please report it with the lines above.", err=True)
        sys.exit(1)


def echo_json(value: Any) -> None:
    """Print ``value`` as JSON on stdout, in UTF-8 whatever the terminal's encoding is."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    # "backslashreplace" writes the lone surrogates of a file name that is no UTF-8 as JSON's own escapes.
    click.echo(text.encode("utf-8", "backslashreplace"))
