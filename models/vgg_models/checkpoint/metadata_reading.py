"""Read what a checkpoint states about itself: labels, normalization, image size, architecture.

Training loops, Lightning (``hyper_parameters``) and timm (``pretrained_cfg``) keep such facts in plain dicts beside the
weights, safetensors in the strings of its header. Only plain Python values and small tensors are read.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor, nn

from vgg_models.checkpoint.contents import is_state_dict
from vgg_models.class_names import class_names_in
from vgg_models.metadata import CheckpointMetadata, Normalization, Statement, sole_statement
from vgg_runtime.imaging.preprocessing import Interpolation

__all__ = ["read_metadata"]

T = TypeVar("T")
Facts = Mapping[Any, Any]

_LABEL_KEYS = ("class_names", "classes", "labels", "class_to_idx", "idx_to_class")
_SIZE_KEYS = ("input_size", "img_size", "image_size")
_ARCHITECTURE_KEYS = ("arch", "architecture", "model_name")

# A module's other attributes belong to its forward, which subtracts a mean among them.
_MODULE_ATTRIBUTES = (*_LABEL_KEYS, "pretrained_cfg", "default_cfg")

_MAX_DEPTH, _MAX_DICTS = 3, 1000
_SIDES = range(8, 4097)  # plausible image sizes in pixels
_MAX_NAME_LENGTH = 100
_CROP_SHARES = (0.5, 1.0)


@dataclass
class _Reader:
    """Looks up a fact in every dict, and keeps remarks on rejected values."""

    dicts: list[tuple[str, Facts]]
    remarks: list[str] = field(default_factory=list)

    def every(self, fact: str, read: Callable[[Facts, str], T | None], *keys: str) -> tuple[Statement[T], ...]:
        return tuple(self._statements(fact, read, keys))

    def sole(self, fact: str, read: Callable[[Facts, str], T | None], *keys: str) -> Statement[T] | None:
        statement, differences = sole_statement(fact, self.every(fact, read, *keys))
        self.remarks.extend(differences)
        return statement

    def _statements(
        self, fact: str, read: Callable[[Facts, str], T | None], keys: tuple[str, ...]
    ) -> Iterator[Statement[T]]:
        for where, facts in self.dicts:
            for key in (key for key in keys if key in facts):
                source = f"{key!r} in {where}"
                try:
                    value = read(facts, key)
                except ValueError as error:
                    self.remarks.append(f"{fact}: {source} is not taken: {error}")
                    continue
                if value is not None:
                    yield Statement(value, source)


def read_metadata(content: object, module: nn.Module | None, header: Mapping[str, str]) -> CheckpointMetadata:
    """Return the facts that a checkpoint states.

    Args:
        content: the saved object.
        module: the whole module selected from it.
        header: the strings in the header of a safetensors file.
    """
    roots: list[tuple[str, object]] = [
        ("the checkpoint", content),
        ("the header of the checkpoint", {key: _from_text(text) for key, text in header.items()}),
        ("the module", {} if module is None else _attributes(module)),
    ]
    known: dict[int, bool] = {}
    dicts = (
        entry for where, root in roots if isinstance(root, Mapping) for entry in _dicts(root, where, _MAX_DEPTH, known)
    )
    reader = _Reader(list(islice(dicts, _MAX_DICTS)))
    return CheckpointMetadata(
        labels=reader.every("labels", _labels, *_LABEL_KEYS),
        architectures=reader.every("architecture", _architecture, *_ARCHITECTURE_KEYS),
        normalization=reader.sole("normalization", _normalization, "mean"),
        input_size=reader.sole("input size", _size, *_SIZE_KEYS),
        crop_share=reader.sole("crop", _crop_share, "crop_pct"),
        interpolation=reader.sole("interpolation", _interpolation, "interpolation"),
        remarks=tuple(reader.remarks),
    )


def _dicts(facts: Facts, where: str, depth: int, known: dict[int, bool]) -> Iterator[tuple[str, Facts]]:
    """The dict and those inside it, except for state dicts, whose tensors are parts of the model."""
    if is_state_dict(facts, known):
        return
    yield where, facts
    for key, value in facts.items():
        if depth > 0 and isinstance(key, str) and isinstance(value, Mapping):
            yield from _dicts(value, f"{_shown(key)} in {where}", depth - 1, known)


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {key: value for key, value in vars(module).items() if key in _MODULE_ATTRIBUTES}


def _from_text(text: str) -> Any:
    """Metadata of safetensors are strings, so lists and numbers are written as JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _labels(facts: Facts, key: str) -> tuple[str, ...] | None:
    """Class names. The same keys are also used for the number of classes, or for the classes of images."""
    value = facts[key]
    if type(value).__name__ == "ndarray":
        raise ValueError("it is a NumPy array, which is not read; save a list")
    entries = [*value, *value.values()] if isinstance(value, Mapping) else value
    if not isinstance(entries, list | tuple) or not any(isinstance(entry, str) for entry in entries):
        return None
    return class_names_in(value)


def _normalization(facts: Facts, key: str) -> Normalization | None:
    """``mean`` and ``std``; either alone is something else."""
    if "std" not in facts:
        return None
    mean, std = _numbers(facts[key]), _numbers(facts["std"])
    if len(mean) != len(std) or len(mean) not in (1, 3):
        raise ValueError(f"mean has {len(mean)} values and std has {len(std)}, not 1 or 3 each")
    if not all(0 <= value <= 255 for value in mean) or not all(0 < value <= 255 for value in std):
        raise ValueError(f"mean {mean} and std {std} are not of pixels from 0 to 1 or 0 to 255")
    if max(std) > 1 and 0 < max(mean) <= 1:
        raise ValueError(f"mean {mean} and std {std} are not of the same scale")
    return Normalization(mean, std, divide_by=1.0 if max(*mean, *std) > 1 else 255.0)


def _numbers(value: object) -> tuple[float, ...]:
    if isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu":
        value = value.flatten().tolist() if value.numel() <= 3 and not value.is_quantized else []
    entries = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(entry, int | float) and not isinstance(entry, bool) for entry in entries):
        raise ValueError(f"it holds {type(entries[0]).__name__}, not numbers")
    if not all(map(math.isfinite, entries)):
        raise ValueError("it holds NaN or infinity")
    return tuple(map(float, entries))


def _size(facts: Facts, key: str) -> tuple[int, int] | None:
    """N, (height, width) or timm's (channels, height, width)."""
    value = facts[key]
    if value is None or isinstance(value, str | Mapping):
        return None
    sides = list(value) if isinstance(value, list | tuple) else [value, value]
    if len(sides) == 3 and sides[0] in (1, 3):
        sides = sides[1:]
    if len(sides) != 2 or not all(type(side) is int and side in _SIDES for side in sides):
        raise ValueError(f"{_shown(value)} is not a size of {_SIDES.start} to {_SIDES.stop - 1} pixels")
    return sides[0], sides[1]


def _architecture(facts: Facts, key: str) -> str | None:
    """A name such as ``vgg16``, or timm's form of it: ``timm/vgg16.tv_in1k``."""
    value = facts[key]
    if not isinstance(value, str) or len(value) > _MAX_NAME_LENGTH:
        return None
    return value.lower().removeprefix("timm/").partition(".")[0] or None


def _crop_share(facts: Facts, key: str) -> float | None:
    if facts[key] is None:
        return None
    share = sum(_numbers(facts[key]))
    if not _CROP_SHARES[0] <= share <= _CROP_SHARES[1]:
        raise ValueError(f"{share} is not from {_CROP_SHARES[0]} to {_CROP_SHARES[1]}")
    if facts.get("crop_mode") not in (None, "center"):
        raise ValueError(f"the crop_mode {_shown(facts['crop_mode'])} is not the centre crop")
    return share


def _interpolation(facts: Facts, key: str) -> Interpolation | None:
    value = facts[key]
    for name in get_args(Interpolation):
        if value == name:
            return name  # type: ignore[no-any-return]
    if isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not one of {', '.join(get_args(Interpolation))}")
    return None


def _shown(value: object) -> str:
    return reprlib.repr(value)
