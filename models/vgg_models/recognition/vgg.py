"""Recognise a VGG: ``features.N`` and ``classifier``, whatever its widths, depth, head and number of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vgg_models.architectures.head import paper_head
from vgg_models.architectures.vgg import Configuration, configuration_of, describe, feature_map_size
from vgg_models.recognition.candidates import NOTHING_FOLLOWS, ArchitectureCandidate
from vgg_models.recognition.input_size import InputSizeCandidate, read_input_size
from vgg_models.recognition.saved_layers import SavedLayer, saved_layers
from vgg_models.recognition.saved_vgg import SavedVGG, read_head, read_vgg
from vgg_runtime._internal.validation import counted
from vgg_runtime.errors import ArchitectureError

__all__ = ["candidates_of", "named_candidates", "recognise"]


def recognise(state: Mapping[str, Tensor], *, input_size: tuple[int, int] | None) -> list[ArchitectureCandidate]:
    """Return the candidates for the state dict as a VGG."""
    saved = read_vgg(saved_layers(state))
    normalizations = _normalizations(saved) if saved else []
    return [candidate for vgg in normalizations for candidate in candidates_of(vgg, input_size=input_size)]


def _normalizations(saved: SavedVGG) -> list[SavedVGG]:
    """One for each possible k of its local response normalization, which the keys don't show."""
    if "LRN" not in saved.configuration:
        return [saved]
    configuration: Configuration = tuple("LRN-k1" if entry == "LRN" else entry for entry in saved.configuration)
    return [saved, replace(saved, configuration=configuration)]


def candidates_of(saved: SavedVGG, *, input_size: tuple[int, int] | None) -> list[ArchitectureCandidate]:
    """Return one candidate for each input size that fits."""
    candidates = _sized(saved, input_size)
    if input_size is not None and saved.configuration[-1:] == ("M",) and not any(_fits(size) for size, _ in candidates):
        # The last pool leaves no trace in the keys. If images of the given size fit without it, it is not assumed.
        without = replace(saved, configuration=saved.configuration[:-1])
        candidates = [pair for pair in _sized(without, input_size) if _fits(pair[0])] or candidates
    return [_candidate(vgg, size) for size, vgg in candidates]


def _sized(saved: SavedVGG, input_size: tuple[int, int] | None) -> list[tuple[InputSizeCandidate, SavedVGG]]:
    with torch.device("meta"):
        features = saved.features()
    channels = next(entry for entry in reversed(saved.configuration) if not isinstance(entry, str))
    width = channels[0] if isinstance(channels, tuple) else channels
    positions, rest = divmod(saved.head.in_features, width)
    if rest:
        return []
    measure = partial(feature_map_size, features, saved.input_channels)
    return [(size, saved) for size in read_input_size(measure, positions, input_size)]


def _fits(size: InputSizeCandidate) -> bool:
    return size.pooled_size is None and size.input_size is not None


def _candidate(saved: SavedVGG, size: InputSizeCandidate) -> ArchitectureCandidate:
    return ArchitectureCandidate(
        name=saved.name,
        description=_description(saved),
        build=partial(saved.build, size.pooled_size),
        input_channels=saved.input_channels,
        input_size=size.input_size,
        reasons=tuple(_reasons(saved)),
        assumptions=(*_assumptions(saved), *([size.assumption] if size.assumption else [])),
        question=size.question,
        chosen_by=_chosen_by(saved, size),
        # torchvision's VGGs have such a pool; for an unknown configuration it is the last resort.
        needs_a_pool=size.pooled_size is not None and saved.name == "vgg",
    )


def _chosen_by(saved: SavedVGG, size: InputSizeCandidate) -> str:
    if not saved.normalized:
        return size.chosen_by or "`input_size`"
    if saved.name == "vgg":
        return "`model='MODULE:CALLABLE'`"
    return ", ".join(filter(None, (f"`model='{saved.name}'`", size.chosen_by)))


def _description(saved: SavedVGG) -> str:
    title = "a VGG of its own configuration" if saved.name == "vgg" else describe(saved.name)
    channels, classes = counted(saved.input_channels, "input channel"), counted(saved.head.num_classes, "class")
    return f"{title}, {channels}, {classes}"


def _reasons(saved: SavedVGG) -> list[str]:
    entries = ", ".join(
        f"{entry[0]} (1x1)" if isinstance(entry, tuple) else str(entry) for entry in saved.configuration
    )
    widths = [layer.out_features for layer in saved.head.layers if not layer.batch_norm]
    linears = " → ".join(map(str, [saved.head.in_features, *widths]))
    position = "a layer without weights first" if saved.head.dropout_first else "Linear first"
    return [
        f"widths and index gaps of the features: {entries}",
        f"classifier: Linear {linears}, {position}",
    ]


def _assumptions(saved: SavedVGG) -> list[str]:
    lines = [
        "convolutions have stride 1 and keep the size (3x3: padding 1), and a ReLU follows each",
        "pools (M) are max pools of 2x2",
    ]
    if saved.configuration[-1:] == ("M",):
        lines.append("a pool follows the last convolution")
    if saved.normalized:
        source = "k 1, PyTorch's default" if "LRN-k1" in saved.configuration else "k 2, as in the AlexNet paper"
        lines.append(f"local response normalization of size 5, alpha 1e-4, beta 0.75 and {source}")
    if len(saved.head.layers) > 1:
        lines.append("in the classifier, a gap of one index is a ReLU, a gap of two a ReLU and a Dropout")
    return [*lines, NOTHING_FOLLOWS]


def named_candidates(
    name: str, state: Mapping[str, Tensor], *, input_size: tuple[int, int] | None
) -> list[ArchitectureCandidate]:
    """Return the candidates for the state dict as one of VGG_NAMES; whether it fits is checked when it is loaded.

    Args:
        state: without wrapper prefixes.

    Raises:
        ArchitectureError: no size of input leads from these features to this classifier.
    """
    layers = saved_layers(state)
    first = next((layer for layer in layers if layer.path == "features.0" and layer.kind == "convolution"), None)
    configuration, batch_norm = configuration_of(name)
    saved = SavedVGG(
        configuration=configuration,
        batch_norm=batch_norm,
        bias=first.bias if first else True,
        input_channels=first.shape[1] if first else 3,
        # If the head is not recognised, the paper's is used, and loading lists what is missing.
        head=read_head([layer for layer in layers if not _is_feature(layer)]) or paper_head(25088, 1000),
    )
    candidates = candidates_of(saved, input_size=input_size)
    if not candidates:
        raise ArchitectureError(
            f"the classifier takes {saved.head.in_features} numbers, which {name} doesn't give at any size of image.",
            hint="Leave out `model` to have the architecture read off the checkpoint.",
        )
    return candidates


def _is_feature(layer: SavedLayer) -> bool:
    return layer.path.startswith("features.")
