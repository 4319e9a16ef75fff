"""From the contents of a file to a module: by the user's name for it, as it was saved, or as it is recognised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vgg_models.architectures.class_source import find_class_source
from vgg_models.architectures.torchvision import PREFIX, default_input_size, empty_torchvision, torchvision_info
from vgg_models.architectures.user_code import build_user_module
from vgg_models.architectures.zoo import KNOWN_MODELS, MODEL_NAMES
from vgg_models.checkpoint.reading import Checkpoint
from vgg_models.checkpoint.state_dict import fit, without_prefixes
from vgg_models.checkpoint.whole_module import (
    check_attributes,
    describe_children,
    in_attribute_order,
    missing_class,
    runnable,
)
from vgg_models.metadata import Statement
from vgg_models.recognition import vgg, zoo
from vgg_models.recognition.candidates import ArchitectureCandidate
from vgg_models.recognition.layer_mismatches import layer_mismatches
from vgg_models.recognition.module_input import fitting_inputs
from vgg_models.recognition.recognise import only_candidate, recognise
from vgg_models.stated_architecture import stated_architecture
from vgg_models.types import BuiltModel, LoadRequest, Size
from vgg_runtime.bundle.manifest import Architecture, Origin
from vgg_runtime.errors import ArchitectureError, UsageError

__all__ = ["build_from"]


def build_from(checkpoint: Checkpoint, request: LoadRequest) -> BuiltModel:
    """Build the module and put the weights into it.

    Raises:
        UsageError: the name of the model is unknown.
        ArchitectureError: the architecture is unknown, ambiguous, or does not fit.
    """
    model = request.model
    if request.attribute_order and (checkpoint.module is None or checkpoint.path is None or model is not None):
        raise UsageError(
            "`attribute_order` applies only to a module that was saved whole, and not together with `model`.",
            hint="Leave out `attribute_order`.",
        )
    if model is None:
        return (
            _recognised(checkpoint, request) if checkpoint.module is None else _from_whole_module(checkpoint, request)
        )
    if model in MODEL_NAMES or model.startswith(PREFIX):
        return _named(model, checkpoint, request, f"named with `model={model!r}`")
    if ":" in model:
        module = build_user_module(model)
        return _load_weights(module, Architecture(model, f"the user's own {model}", "user code"), checkpoint)
    raise UsageError(
        f"unknown architecture {model!r}.",
        hint=f"Available: {', '.join(MODEL_NAMES)}, torchvision:NAME, or MODULE:CALLABLE for your own code.",
    )


def _load_weights(
    module: nn.Module,
    architecture: Architecture,
    checkpoint: Checkpoint,
    channels: int | None = None,
    size: Size | None = None,
) -> BuiltModel:
    notes = fit(module, checkpoint.state, architecture=architecture.name)
    info = replace(checkpoint.info, notes=(*checkpoint.info.notes, *notes))
    return BuiltModel(module, architecture, info, channels, size)


def _strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    *_, (bare, _notes) = without_prefixes(state)
    return bare


def _named(model: str, checkpoint: Checkpoint, request: LoadRequest, reason: str) -> BuiltModel:
    if model.startswith(PREFIX):
        return _torchvision(model.removeprefix(PREFIX), checkpoint, request)
    candidates_of = zoo.named_candidates if model in KNOWN_MODELS else vgg.named_candidates
    state = _strip_prefixes(checkpoint.state)
    candidates = candidates_of(model, state, input_size=request.input_size)
    if request.fallback_input_size is not None and any(candidate.question for candidate in candidates):
        candidates = candidates_of(model, state, input_size=request.fallback_input_size)
    return _from_candidate(only_candidate(candidates), checkpoint, "named", (reason,))


def _recognised(checkpoint: Checkpoint, request: LoadRequest) -> BuiltModel:
    """By keys and shapes, and if these leave a choice, by the name that the checkpoint itself states."""
    stated, remarks = stated_architecture(checkpoint.metadata)
    state = _strip_prefixes(checkpoint.state)
    try:
        candidate = recognise(state, input_size=request.input_size, fallback_input_size=request.fallback_input_size)
    except ArchitectureError as error:
        if stated is None:
            raise
        return _as_stated(stated, checkpoint, request, error)
    built = _from_candidate(candidate, checkpoint, "recognised", candidate.reasons)
    if stated is not None and stated.value.removeprefix(PREFIX) != candidate.name.removeprefix(PREFIX):
        remarks = (f"architecture: {stated.source} is {stated.value}, but its weights are those of {candidate.name}",)
    return replace(built, checkpoint=built.checkpoint.with_remarks(*remarks))


def _as_stated(
    stated: Statement[str], checkpoint: Checkpoint, request: LoadRequest, undecided: ArchitectureError
) -> BuiltModel:
    """The architecture that the checkpoint names, if the weights fit it."""
    try:
        built = _named(stated.value, checkpoint, request, f"named by {stated.source}")
    except ArchitectureError as misfit:
        misfits = f"{stated.source} is {stated.value}, which the weights don't fit; `model={stated.value!r}` lists why."
        raise ArchitectureError(f"{undecided.message}\n{misfits}", hint=undecided.hint) from misfit
    remark = f"architecture: {stated.value}, taken from {stated.source}, which its weights fit"
    if request.input_size is None and built.input_size is not None:
        remark += f", for its usual images of {built.input_size[0]}x{built.input_size[1]}"
    return replace(built, checkpoint=built.checkpoint.with_remarks(remark))


def _from_candidate(
    candidate: ArchitectureCandidate, checkpoint: Checkpoint, origin: Origin, reasons: tuple[str, ...]
) -> BuiltModel:
    with torch.device("meta"):
        module = candidate.build()
    info = Architecture(candidate.name, candidate.description, origin, reasons, candidate.assumptions)
    return _load_weights(module, info, checkpoint, candidate.input_channels, candidate.input_size)


def _torchvision(name: str, checkpoint: Checkpoint, request: LoadRequest) -> BuiltModel:
    module = empty_torchvision(name, _strip_prefixes(checkpoint.state))
    size = request.input_size or default_input_size(name)
    return _load_weights(module, torchvision_info(name), checkpoint, None, size)


def _from_whole_module(checkpoint: Checkpoint, request: LoadRequest) -> BuiltModel:
    """A whole module: as it is if its order is certain or confirmed, else by its weights."""
    assert checkpoint.module is not None
    check_attributes(checkpoint.module)
    built = in_attribute_order(checkpoint.module) if request.attribute_order else runnable(checkpoint.module)
    if built is None:
        return _by_its_weights(checkpoint, request)
    module, assumption = built
    info = Architecture(
        name="module",
        description=f"a whole module, of the class {_class_name(checkpoint.module)}",
        origin="module",
        reasons=(f"its children: {describe_children(checkpoint.module)}",),
        assumptions=(assumption,) if assumption else (),
    )
    return BuiltModel(module, info, checkpoint.info)


def _class_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__name__}"


def _by_its_weights(checkpoint: Checkpoint, request: LoadRequest) -> BuiltModel:
    assert checkpoint.module is not None
    try:
        built = _recognised(checkpoint, request)
        _check_agreement(checkpoint.module, built)
        return built
    except ArchitectureError as error:
        raise ArchitectureError(
            f"the code of the class {_class_name(missing_class(checkpoint.module))} is not in the checkpoint, so the "
            f"order of the module's children is unknown: {describe_children(checkpoint.module)}.\n"
            f"Nor can it be built from its weights alone: {error.message}",
            hint=f"{_offer_class(checkpoint) or error.hint}{_offer_attribute_order(checkpoint.module)}",
        ) from error


def _offer_class(checkpoint: Checkpoint) -> str:
    """Name the file that defines the class of the whole module, beside the checkpoint or in the current folder."""
    assert checkpoint.module is not None
    module, _, name = _class_name(missing_class(checkpoint.module)).rpartition(".")
    beside = () if checkpoint.path is None else (checkpoint.path.parent,)
    source = find_class_source(module, name, (Path(), *beside))
    if source is None or isinstance(
        checkpoint.module, nn.Sequential
    ):  # a Sequential is available; the class of one of its layers is not
        return ""
    runs = " Importing it runs what is at its top level." if module == "__main__" else ""
    return f"{source.module}.py defines {name}: {source.option}.{runs}"


def _check_agreement(saved: nn.Module, built: BuiltModel) -> None:
    if against := layer_mismatches(saved, built.module):
        raise ArchitectureError(
            f"they fit {built.architecture.name}, but the module holds {', '.join(against)}, which that does not run.",
            hint="Give the module's class: `model='MODULE:CALLABLE'`.",
        )


def _offer_attribute_order(module: nn.Module) -> str:
    row = in_attribute_order(module, required=False)
    if row is None or not fitting_inputs(row[0]):
        return ""
    return (
        " If its forward runs the children once each, in this order, and nothing else, confirm: `attribute_order=True`."
    )
