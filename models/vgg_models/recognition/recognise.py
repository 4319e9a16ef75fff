"""Find the only architecture that fits a state dict, or say why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from vgg_models.recognition import sequential, timm_vgg, torchvision_networks, vgg, zoo
from vgg_models.recognition.candidates import ArchitectureCandidate
from vgg_models.recognition.nearest import describe_nearest
from vgg_models.recognition.saved_layers import describe_layers, saved_layers
from vgg_runtime._internal.shortening import listed, shortened
from vgg_runtime.errors import ArchitectureError

__all__ = ["RECOGNISERS", "only_candidate", "recognise"]


class Recogniser(Protocol):
    """Returns the candidates for a state dict, none if it is of another kind."""

    def __call__(
        self, state: Mapping[str, Tensor], *, input_size: tuple[int, int] | None
    ) -> list[ArchitectureCandidate]: ...


# One line each, the most specific first: if one is certain, those after it are not tried.
RECOGNISERS: tuple[Recogniser, ...] = (
    zoo.recognise,
    vgg.recognise,
    timm_vgg.recognise,
    torchvision_networks.recognise,
    sequential.recognise,
)

_FEW_KEYS = 6
_OWN_CODE = "Give your own class or a function that makes the module: `model='MODULE:CALLABLE'`."


def recognise(
    state: Mapping[str, Tensor],
    *,
    input_size: tuple[int, int] | None,
    fallback_input_size: tuple[int, int] | None = None,
) -> ArchitectureCandidate:
    """Return the only candidate for a state dict, whose keys have no wrapper prefix.

    Args:
        input_size: (height, width) in pixels, stated by the user.
        fallback_input_size: the same, taken only if the candidates leave the size open.

    Raises:
        ArchitectureError: nothing fits, or several candidates do, or the input size is open; the message lists them
            and the flag that decides.
    """
    candidates = _proven(state, input_size)
    if fallback_input_size is not None and (len(candidates) > 1 or any(candidate.question for candidate in candidates)):
        candidates = _proven(state, fallback_input_size) or candidates
    if not candidates:
        raise ArchitectureError(
            f"the architecture can't be read off this checkpoint: {_summary(state)}.{_nearest(state)}",
            hint=_OWN_CODE + _resembling(state) + _strangers(state),
        )
    return only_candidate(candidates)


def _proven(state: Mapping[str, Tensor], input_size: tuple[int, int] | None) -> list[ArchitectureCandidate]:
    """The candidates of the first recogniser with certain ones, else of the first with any."""
    tentative: list[ArchitectureCandidate] = []
    for recogniser in RECOGNISERS:
        proven = [candidate for candidate in recogniser(state, input_size=input_size) if _fits(candidate.build, state)]
        if any(not candidate.tentative for candidate in proven):
            return proven
        tentative = tentative or proven
    return tentative


def only_candidate(candidates: list[ArchitectureCandidate]) -> ArchitectureCandidate:
    """Return the only candidate, if it leaves nothing open; raise ArchitectureError otherwise."""
    if len(candidates) > 1:
        lines = [
            f"  {candidate.chosen_by}: {candidate.description}{_apart(candidate, candidates)}"
            for candidate in candidates
        ]
        raise ArchitectureError(
            "these keys and shapes can be read in more than one way:\n" + "\n".join(lines),
            hint="Choose one with the flag before it.",
        )
    (candidate,) = candidates
    if candidate.question:
        raise ArchitectureError(f"{candidate.description}: {candidate.question}.", hint=candidate.answer)
    return candidate


def _apart(candidate: ArchitectureCandidate, candidates: list[ArchitectureCandidate]) -> str:
    """What distinguishes a candidate from the others."""
    common = set.intersection(*(set(other.assumptions) for other in candidates))
    details = [line for line in (*candidate.assumptions, candidate.question) if line and line not in common]
    return f" ({'; '.join(details)})" if details else ""


def _fits(build: Callable[[], torch.nn.Module], state: Mapping[str, Tensor]) -> bool:
    """Whether the keys and shapes of a candidate are exactly those of the checkpoint."""
    with torch.device("meta"):
        expected = {key: value.shape for key, value in build().state_dict().items()}
    counters = {key for key in expected if key.endswith(".num_batches_tracked")}  # absent before torch 0.4.1
    shapes = {key: value.shape for key, value in state.items()}
    return shapes == expected or shapes == {key: expected[key] for key in expected.keys() - counters}


def _resembling(state: Mapping[str, Tensor]) -> str:
    names = zoo.resembling(state)
    models = " or ".join(f"`model='{name}'`" for name in names)
    return f" If it is the network of that name, give {models}." if names else ""


def _nearest(state: Mapping[str, Tensor]) -> str:
    sentences = describe_nearest(state)
    return f"\n{sentences}" if sentences else ""


def _summary(state: Mapping[str, Tensor]) -> str:
    layers, keys = saved_layers(state), list(state)
    names = ", ".join(map(shortened, keys if len(keys) <= _FEW_KEYS else (*keys[:3], "...", *keys[-3:])))
    return f"{describe_layers(layers) or 'no layers'}; keys {names}"


def _strangers(state: Mapping[str, Tensor]) -> str:
    """What to do about keys that belong to no layer; many of them mean another kind of network."""
    paths = {layer.path for layer in saved_layers(state) if layer.kind == "other"}
    keys = [key for key in state if key.rpartition(".")[0] in paths]
    if not 0 < len(keys) <= _FEW_KEYS:
        return ""
    return f" If the model runs without {listed(keys)}, save the others alone and try again."
