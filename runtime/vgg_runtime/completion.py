"""What a shell offers at the Tab key: words, files, and the variants of the bundle that is typed already.

A command's own module names these at its options, so nothing heavy is imported here before Tab is pressed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from vgg_runtime.errors import VggDeployError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["Completion", "files", "variants_and", "words_or_files"]

Completion = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer what the file system has."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def words_or_files(words: Iterable[str]) -> Completion:
    """Return what offers those of ``words`` that fit, and files."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        # Files first: bash drops what came before, and asks the file system only where no word fits.
        return files(ctx, param, incomplete) + _fitting(words, incomplete)

    return complete


def variants_and(*words: str) -> Completion:
    """Return what offers the variants of the command's BUNDLE, where that is typed already, and ``words``."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _fitting([*_variants(ctx), *words], incomplete)

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


def _fitting(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
