"""Shell completion of variants: those of the bundle that was typed before.

The modules of the commands import this one, so nothing heavy is imported here until Tab is pressed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from vgg_cli.output import printable
from vgg_runtime.errors import VggDeployError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["Completion", "variants_and"]

Completion = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def variants_and(*words: str) -> Completion:
    """Return a completion that offers ``words``, and the variants of BUNDLE once that has been typed."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return click.Choice([*_variants(ctx), *words]).shell_complete(ctx, param, incomplete)

    return complete


def _variants(ctx: click.Context) -> list[str]:
    from vgg_runtime.bundle.directory import read_bundle

    # An option without its value ends click's parsing before BUNDLE, which is then among the remaining arguments.
    bundle = ctx.params.get("bundle") or next(iter(ctx.args), None)
    if bundle is None:
        return []
    try:
        names = (variant.name for variant in read_bundle(bundle).manifest.variants)
        return [name for name in names if name == printable(name)]  # the shell prints them
    except VggDeployError:  # the command itself will report the error
        return []
