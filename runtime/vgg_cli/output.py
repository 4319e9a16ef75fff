"""Output of the commands: JSON, text without control characters, a line about a variant."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from vgg_runtime.bundle.manifest import Variant

__all__ = ["echo_json", "printable", "variant_line"]

_CONTROL_CHARACTERS = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}


def printable(text: str) -> str:
    """Return ``text`` with its control characters escaped, so that a label cannot control the terminal."""
    return text.translate(_CONTROL_CHARACTERS)


def echo_json(value: Any) -> None:
    """Print ``value`` as JSON on stdout, in UTF-8, whatever the encoding of the terminal."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    # A file name that is not UTF-8 has lone surrogates; "backslashreplace" writes them as JSON escapes.
    click.echo(text.encode("utf-8", "backslashreplace"))


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
