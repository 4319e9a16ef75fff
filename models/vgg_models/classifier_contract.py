"""The modules that can be deployed: one batch of images in, one vector of class scores per image out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from torch import Tensor, nn

from vgg_runtime.errors import ArchitectureError

__all__ = ["check_inputs", "check_scores"]

_CONTRACT = "one image in and one vector of class scores out is what can be deployed"

# Their modules were built here, not by a class that the user could subclass.
_NOT_THE_USERS = ("torch", "torchvision", "vgg_models")


def check_inputs(module: nn.Module) -> None:
    """Raise ArchitectureError if the module's ``forward`` needs more than the images."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (ValueError, TypeError):  # built-in callables may have no signature
        return
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [item.name for item in parameters if item.default is item.empty and item.kind not in variadic]
    if len(required) > 1:
        constants = ", ".join(f"{name}=..." for name in required[1:])
        raise ArchitectureError(
            f"the module's forward takes {len(required)} inputs: {', '.join(required)}; {_CONTRACT}.",
            hint=_subclass(module, f"super().forward({required[0]}, {constants})", image=required[0]),
        )


def check_scores(output: object, image: str, module: nn.Module) -> None:
    """Raise ArchitectureError unless ``output``, of one image, has the shape (1, classes) with at least two classes.

    Args:
        image: shape of the image, for the message.
        module: the module that gave it.
    """
    if isinstance(output, Tensor) and output.dim() == 2 and output.shape[0] == 1 and output.shape[1] > 1:
        return
    raise ArchitectureError(
        f"the module gives {_describe(output)} for one image of {image}; {_CONTRACT}: (1, classes).",
        hint=_subclass(module, _scores_of(output)),
    )


def _describe(output: object) -> str:
    if isinstance(output, Tensor):
        return str(tuple(output.shape)) + ", one number," * (output.numel() == 1)
    if isinstance(output, Mapping):
        entries = [f"{key} {_shape(value)}" for key, value in output.items()]
    elif isinstance(output, list | tuple):
        entries = [_shape(value) for value in output]
    else:
        return f"a {type(output).__name__}"
    *first, last = entries or ["none"]
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"a {type(output).__name__} of {len(output)} output{'s' * (len(output) != 1)}: {listed},"


def _shape(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _scores_of(output: object) -> str:
    """An expression for the class scores that the user probably wants."""
    whole = "super().forward(image)"
    if isinstance(output, Mapping):
        return f"{whole}[{next(iter(output), 'logits')!r}]"
    if not isinstance(output, Tensor):
        return f"{whole}[0]"
    if output.numel() == 1:  # softmax([0, x]) is (1 - sigmoid(x), sigmoid(x))
        return f"torch.nn.functional.pad({whole}.reshape(-1, 1), (1, 0))  # a logit of the second of two classes"
    if output.dim() == 4:
        return f"{whole}.mean(dim=(2, 3))  # scores of the whole image, from those of its pixels"
    return f"{whole}.flatten(1)"


def _subclass(module: nn.Module, scores: str, *, image: str = "image") -> str:
    """Code that changes the forward without changing the names of the weights."""
    cls = type(module)
    users = cls.__module__.partition(".")[0] not in _NOT_THE_USERS
    name = cls.__name__ if users else "YourNetwork"
    lines = (
        f"from {cls.__module__ if users else 'your_module'} import {name}",
        "import torch" if scores.startswith("torch.") else "",
        f"class Scores({name}):",
        f"    def forward(self, {image}):",
        f"        return {scores}",
    )
    code = "\n".join(f"           {line}" for line in lines if line)
    return f"Save a subclass that does so as scores.py, and give `model='scores:Scores'` (with its arguments):\n{code}"
