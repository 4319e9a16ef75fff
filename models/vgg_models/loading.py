"""``load_model``: from a checkpoint, or a name, to a module that is ready to export."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from vgg_models.architectures.named_vgg import build_vgg
from vgg_models.architectures.paper_table import MODEL_NAMES, describe
from vgg_models.architectures.random_weights import build_random
from vgg_models.architectures.torchvision_models import build_torchvision, default_input_size, fetch_pretrained
from vgg_models.architectures.user_code import build_user_module
from vgg_models.checkpoint.fitting import fit
from vgg_models.checkpoint.prefixes import without_prefixes
from vgg_models.checkpoint.reading import Checkpoint, read_checkpoint
from vgg_models.checkpoint.whole_module import describe_children, runnable
from vgg_models.loaded_model import ArchitectureInfo, CheckpointInfo, LoadedModel
from vgg_models.recognition.module_input import find_module_input
from vgg_models.recognition.named import named_readings
from vgg_models.recognition.reading import Reading
from vgg_models.recognition.recognise import recognise, sole
from vgg_runtime.errors import ArchitectureError, UsageError

__all__ = ["load_model"]

_TORCHVISION = "torchvision:"
_RANDOM = "random:"


@dataclass(frozen=True)
class _Request:
    """What the caller named."""

    model: str | None
    input_size: tuple[int, int] | None
    likely_size: tuple[int, int] | None
    input_channels: int | None
    num_classes: int | None
    seed: int


@dataclass(frozen=True)
class _Built:
    """A module with its weights, before its input and output are checked. None: to be found by running it."""

    module: nn.Module
    architecture: ArchitectureInfo
    notes: tuple[str, ...] = ()
    input_channels: int | None = None
    input_size: tuple[int, int] | None = None


def load_model(
    source: str | os.PathLike[str],
    *,
    model: str | None = None,
    input_size: tuple[int, int] | None = None,
    likely_size: tuple[int, int] | None = None,
    input_channels: int | None = None,
    num_classes: int | None = None,
    seed: int = 0,
    allow_nonfinite: bool = False,
) -> LoadedModel:
    """Load a checkpoint, or make a module by name.

    Args:
        source: the path of a checkpoint; ``torchvision:NAME`` for torchvision's own weights; ``random:NAME`` for
            seeded weights, NAME being one of MODEL_NAMES or one of torchvision's.
        model: the architecture: one of MODEL_NAMES, ``torchvision:NAME`` or ``MODULE:CALLABLE`` (the user's own
            code, which is imported). None to have it read off the checkpoint.
        input_size: (height, width) in pixels, where the checkpoint does not decide it.
        likely_size: the same, of less weight: taken only where nothing else decides.
        input_channels: where the module does not decide it.
        num_classes: of ``random:NAME``; 1000 otherwise. A checkpoint has its own.
        seed: of ``random:NAME``.
        allow_nonfinite: accept NaN and infinite weights.

    Raises:
        UsageError: the source or the model is named in a way that has no meaning.
        CheckpointError: the file is no checkpoint, damaged, unsafe (UnsafeCheckpointError), or of an architecture
            that is unknown, ambiguous or does not fit (ArchitectureError).
        MissingCapabilityError: torchvision or safetensors is needed and not installed.
    """
    request = _Request(model, input_size, likely_size, input_channels, num_classes, seed)
    name = os.fspath(source)
    if name.startswith((_RANDOM, _TORCHVISION)):
        if model is not None:
            raise UsageError(f"{name} names its own architecture.", hint="Leave out --model.")
        built, info = _random(name, request) if name.startswith(_RANDOM) else _pretrained(name, request)
    else:
        checkpoint = read_checkpoint(Path(source), allow_nonfinite=allow_nonfinite)
        built, info = _build(checkpoint, request), checkpoint.info
    return _finish(built, info, request)


def _random(source: str, request: _Request) -> tuple[_Built, CheckpointInfo]:
    name = source.removeprefix(_RANDOM)
    seeded = partial(build_random, seed=request.seed)
    if name in MODEL_NAMES:
        channels, size = request.input_channels or 3, request.input_size or (224, 224)
        classes = request.num_classes or 1000
        build = partial(build_vgg, name, num_classes=classes, input_channels=channels, input_size=size)
        module = seeded(build, input_channels=channels, input_size=size, kaiming=True)
        architecture = ArchitectureInfo(name, describe(name), "named")
    else:
        name = name.removeprefix(_TORCHVISION)
        channels, size = 3, request.input_size or default_input_size(name)
        build_other = partial(build_torchvision, name, num_classes=request.num_classes)
        module = seeded(build_other, input_channels=3, input_size=size, kaiming=False)
        architecture = _torchvision_info(name)
    info = CheckpointInfo("random", notes=(f"random weights of seed {request.seed}: for size and speed only",))
    return _Built(module, architecture, (), channels, size), info


def _pretrained(source: str, request: _Request) -> tuple[_Built, CheckpointInfo]:
    name = source.removeprefix(_TORCHVISION)
    module, weights = fetch_pretrained(name)
    size = request.input_size or default_input_size(name)
    return _Built(module, _torchvision_info(name), (), 3, size), CheckpointInfo("torchvision", notes=(weights,))


def _build(checkpoint: Checkpoint, request: _Request) -> _Built:
    model = request.model
    if model is None:
        return _rebuild(checkpoint, request) if checkpoint.module is not None else _recognise(checkpoint.state, request)
    if model in MODEL_NAMES:
        reading = sole(named_readings(model, _undressed(checkpoint.state), input_size=request.input_size))
        return _from_reading(reading, checkpoint.state, "named")
    if model.startswith(_TORCHVISION):
        return _torchvision(model.removeprefix(_TORCHVISION), checkpoint.state, request)
    if ":" in model:
        return _user_code(model, checkpoint.state)
    raise UsageError(
        f"there is no architecture called {model!r}.",
        hint=f"Ours are {', '.join(MODEL_NAMES)}. Others: torchvision:NAME, or MODULE:CALLABLE for your own code.",
    )


def _undressed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    *_, (bare, _notes) = without_prefixes(state)
    return bare


def _recognise(state: Mapping[str, Tensor], request: _Request) -> _Built:
    reading = recognise(_undressed(state), input_size=request.input_size, likely_size=request.likely_size)
    return _from_reading(reading, state, "recognised")


def _from_reading(reading: Reading, state: Mapping[str, Tensor], origin: str) -> _Built:
    with torch.device("meta"):
        module = reading.build()
    notes = fit(module, state, architecture=reading.name)
    named = origin == "named"
    info = ArchitectureInfo(
        name=reading.name,
        description=reading.description,
        origin="named" if named else "recognised",
        reasons=(f"named with --model {reading.name}",) if named else reading.reasons,
        assumptions=reading.assumptions,
    )
    return _Built(module, info, notes, reading.input_channels, reading.input_size)


def _rebuild(checkpoint: Checkpoint, request: _Request) -> _Built:
    assert checkpoint.module is not None
    found = runnable(checkpoint.module)
    if found is not None:
        module, assumption = found
        info = ArchitectureInfo(
            name="module",
            description="the module that was saved whole",
            origin="module",
            reasons=(f"its children: {describe_children(checkpoint.module)}",),
            assumptions=(assumption,) if assumption else (),
        )
        return _Built(module, info)
    try:
        return _recognise(checkpoint.state, request)
    except ArchitectureError as error:
        raise ArchitectureError(
            f"the class of this module is not at hand, and the order of its children is not certain: "
            f"{describe_children(checkpoint.module)}.\nAs for its weights: {error.message}",
            hint=error.hint,
        ) from error


def _torchvision(name: str, state: Mapping[str, Tensor], request: _Request) -> _Built:
    with torch.device("meta"):
        module = build_torchvision(name, state=_undressed(state))
    notes = fit(module, state, architecture=f"torchvision's {name}")
    size = request.input_size or default_input_size(name)
    return _Built(module, _torchvision_info(name), notes, None, size)


def _torchvision_info(name: str) -> ArchitectureInfo:
    return ArchitectureInfo(f"{_TORCHVISION}{name}", f"torchvision's {name}", "named")


def _user_code(spec: str, state: Mapping[str, Tensor]) -> _Built:
    module = build_user_module(spec)
    notes = fit(module, state, architecture=spec)
    return _Built(module, ArchitectureInfo(spec, f"the user's own {spec}", "user code"), notes)


def _finish(built: _Built, info: CheckpointInfo, request: _Request) -> LoadedModel:
    """Make the module ready to export, and prove on one blank image that it runs."""
    module = built.module.eval().float().requires_grad_(False)
    channels, size, assumptions = find_module_input(
        module,
        input_channels=request.input_channels or built.input_channels,
        input_size=request.input_size or built.input_size or request.likely_size,
    )
    architecture = replace(built.architecture, assumptions=(*built.architecture.assumptions, *assumptions))
    return LoadedModel(
        module=module,
        architecture=architecture,
        checkpoint=replace(info, notes=(*info.notes, *built.notes)),
        input_channels=channels,
        input_size=size,
        num_classes=_num_classes(module, (channels, *size)),
    )


def _num_classes(module: nn.Module, input_shape: tuple[int, int, int]) -> int:
    shown = "x".join(map(str, input_shape))
    try:
        with torch.inference_mode():
            output = module(torch.zeros(1, *input_shape))
    except Exception as error:  # a forward may fail in any way
        raise ArchitectureError(
            f"the module fails on an image of {shown}: {type(error).__name__}: {error}.",
            hint="Give the size that it was trained at: --input-size N or --input-size HxW.",
        ) from error
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[0] != 1:
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ArchitectureError(
            f"the module gives {found} for one image of {shown}; a classifier gives (1, classes).",
            hint="Give a module of your own that returns the class scores: --model MODULE:CALLABLE.",
        )
    return int(output.shape[1])
