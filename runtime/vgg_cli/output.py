"""Output of the commands: everything that they print goes through :func:`echo` or :func:`echo_json`.

File names, labels, keys of a checkpoint and fields of a manifest come from strangers. Printed as they are, they could
move the cursor, recolour or rename the terminal, or show text in another order than it is.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from vgg_runtime.bundle.manifest import Variant

__all__ = ["EchoHandler", "echo", "echo_document", "echo_json", "printable", "printable_lines", "variant_line"]

_CONTROL_CHARACTERS = (*range(0x20), *range(0x7F, 0xA0))

# Separators of lines, and marks that reorder the text around them: LRM, RLM, ALM, embeddings, overrides and isolates.
_REORDERING = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))

_ESCAPES = {code: repr(chr(code))[1:-1] for code in (*_CONTROL_CHARACTERS, *_REORDERING)}
_JSON_ESCAPES = {code: f"\\u{code:04x}" for code in _ESCAPES if code > 0x20}  # json escapes the others itself


def printable(text: str) -> str:
    """Return ``text`` as one line that cannot control a terminal: control characters are shown as escapes."""
    return text.translate(_ESCAPES)


def printable_lines(text: str) -> str:
    """Return ``text``, lines of our own, with everything but the newlines as :func:`printable` shows it."""
    return "\n".join(map(printable, text.split("\n")))


def echo(*lines: str, err: bool = False) -> None:
    """Print each of ``lines`` on stdout or stderr, made printable."""
    for line in lines:
        click.echo(printable(line), err=err)  # noqa: TID251 - the one place


class EchoHandler(logging.Handler):
    """Prints log messages on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        echo(*self.format(record).split("\n"), err=True)


def echo_json(value: Any) -> None:
    """Print ``value`` as JSON on stdout, in UTF-8, whatever the encoding of the terminal."""
    echo_document(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def echo_document(text: str) -> None:
    """Print JSON, or a page whose texts are printable, on stdout in UTF-8; control characters as escapes of JSON."""
    # A file name that is not UTF-8 has lone surrogates; "backslashreplace" writes them as JSON escapes.
    encoded = text.translate(_JSON_ESCAPES).encode("utf-8", "backslashreplace")
    click.echo(encoded, nl=False)  # noqa: TID251 - the one place


def variant_line(variant: Variant) -> str:
    """Return one line about a variant: size and agreement with eager PyTorch."""
    if variant.parity is None:
        parity = "not verified"
    elif variant.parity.snr_db is None:
        parity = "equal to eager PyTorch to the bit"
    else:
        centered = f" ({variant.parity.centered_snr_db:.1f} centered)" if variant.parity.is_mostly_mean else ""
        parity = f"{variant.parity.snr_db:.1f} dB{centered}, top-1 agreement {variant.parity.top1_agreement:.1%}"
    return f"{variant.name:<26}{variant.bytes / 1e6:9.1f} MB  {parity}"
