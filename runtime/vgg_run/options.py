"""Options that several commands of ``vgg-run`` have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from vgg_cli import completion
from vgg_runtime.errors import UsageError

__all__ = [
    "PATH",
    "REFUSED",
    "any_operator_option",
    "bundle_argument",
    "device_option",
    "json_option",
    "key_option",
    "max_pixels_option",
    "variant_option",
]

# The exit code if an image was refused, and the others were done.
REFUSED = 3

# click does not check readability: the commands report what is unreadable, and still run the others.
PATH = click.Path(readable=False, path_type=Path)


class DeviceName(click.ParamType[str]):
    """A name that :func:`parse_device` takes."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name as it is."""
        from vgg_runtime.backends.base import parse_device

        try:
            parse_device(value)
        except UsageError:
            self.fail(f"{value!r} is not one of auto, cpu, cuda, cuda:N.", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete the names without an index."""
        return [CompletionItem(name) for name in ("auto", "cpu", "cuda") if name.startswith(incomplete)]


bundle_argument = click.argument("bundle", type=PATH)
device_option = click.option(
    "--device",
    type=DeviceName(),
    default="auto",
    show_default=True,
    help="auto, cpu, cuda, or cuda:N for the GPU of that index.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
key_option = click.option(
    "--key", type=PATH, metavar="PUB", help="Refuse a bundle that the owner of this public key (PEM) did not sign."
)
any_operator_option = click.option(
    "--allow-any-operator",
    is_flag=True,
    help="Run a model even if it has operators that vgg-export does not write; only if you trust who made it.",
)
max_pixels_option = click.option(
    "--max-pixels", type=click.IntRange(min=1), help="Refuse larger images; by default 100 million."
)
variant_option = click.option(
    "--variant",
    shell_complete=completion.variants_and("recommended"),
    help="Variant to run, or 'recommended'; by default onnx-fp32.",
)
