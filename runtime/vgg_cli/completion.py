"""What a shell offers at the Tab key for a variant: those of the bundle that is typed already.

A command's own module names this at its options, so nothing heavy is imported here before Tab is pressed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from vgg_runtime.errors import VggDeployError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["Completion", "variants_and"]

Completion = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def variants_and(*words: str) -> Completion:
    """Return what offers the variants of the command's BUNDLE, where that is typed already, and ``words``."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return click.Choice([*_variants(ctx), *words]).shell_complete(ctx, param, incomplete)

    return complete


def _variants(ctx: click.Context) -> list[str]:
    from vgg_runtime.bundle.directory import read_bundle

    # An option that lacks its value ends click's parsing before it comes to BUNDLE, which is then among the rest.
    bundle = ctx.params.get("bundle") or next(iter(ctx.args), None)
    if bundle is None:
        return []
    try:
        return [variant.name for variant in read_bundle(bundle).manifest.variants]
    except VggDeployError:  # the command itself will say what is wrong with it
        return []
