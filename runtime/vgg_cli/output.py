"""What the commands print: JSON, text that cannot steer the terminal, a line about a variant."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from vgg_runtime.bundle.manifest import Variant

__all__ = ["echo_json", "printable", "variant_line"]

_CONTROL_CHARACTERS = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}


def printable(text: str) -> str:
    """Return ``text`` with its control characters as escapes, so that a label cannot steer the terminal."""
    return text.translate(_CONTROL_CHARACTERS)


def echo_json(value: Any) -> None:
    """Print ``value`` as JSON on stdout, in UTF-8 whatever the terminal's encoding is."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    # "backslashreplace" writes the lone surrogates of a file name that is no UTF-8 as JSON's own escapes.
    click.echo(text.encode("utf-8", "backslashreplace"))


def variant_line(variant: Variant) -> str:
    """One line on a variant: size, precision, agreement with eager PyTorch."""
    if variant.parity is None:
        parity = "not verified"
    elif variant.parity.snr_db is None:
        parity = "equal to eager PyTorch to the bit"
    else:
        centered = f" ({variant.parity.centered_snr_db:.1f} centered)" if variant.parity.is_mostly_mean else ""
        parity = f"{variant.parity.snr_db:.1f} dB{centered}, top-1 agreement {variant.parity.top1_agreement:.1%}"
    return f"{variant.name:<26}{variant.bytes / 1e6:9.1f} MB  {parity}"
