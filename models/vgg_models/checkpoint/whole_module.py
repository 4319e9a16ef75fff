"""A module that was saved whole and rebuilt without its class: check it, and find out how it runs.

The children are restored exactly. The order in which ``forward`` used them is code, which is not in the file, so only
modules whose structure allows no other sensible order are run.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from vgg_models.checkpoint.building import is_stub
from vgg_runtime._internal.shortening import listed, shortened
from vgg_runtime.errors import ArchitectureError, CheckpointError

__all__ = ["check_attributes", "check_module", "describe_children", "in_attribute_order", "missing_class", "runnable"]


def check_module(module: nn.Module) -> None:
    """Raise CheckpointError if a layer carries hooks, or hides a method of its class behind an attribute."""
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Module):
            raise CheckpointError(f"{shortened(name)} is a {type(layer).__name__}, not a layer.")
        attributes = vars(layer)
        odd = [key for key, value in attributes.items() if value and _runs_code(key)]
        if not is_stub(layer):  # a stub never runs, and users name their attributes as they like
            odd += [key for key in attributes if callable(getattr(type(layer), key, None))]
        if odd:
            raise CheckpointError(
                f"the layer {shortened(name) or '(the module itself)'} carries {listed(odd)}, which can't be rebuilt.",
                hint="Save the weights alone: torch.save(model.state_dict(), path), "
                "and give `model='MODULE:CALLABLE'`.",
            )


def check_attributes(module: nn.Module) -> None:
    """Raise CheckpointError if a layer lacks an attribute that its forward and its repr read."""
    for name, layer in module.named_modules():
        if missing := [key for key in getattr(type(layer), "__constants__", ()) if not hasattr(layer, key)]:
            raise CheckpointError(
                f"the layer {shortened(name)} is a {type(layer).__name__} that lacks {', '.join(missing)}.",
                hint="Save it with today's torch, or give `model='MODULE:CALLABLE'`.",
            )


def _runs_code(attribute: str) -> bool:
    """Whether nn.Module calls the functions in this attribute; it has a dozen dicts of hooks, and gains more."""
    return attribute == "_compiled_call_impl" or (attribute.startswith("_") and "_hooks" in attribute)


def runnable(module: nn.Module) -> tuple[nn.Module, str] | None:
    """Return a module that runs, and the assumption behind it; None if the order of the layers is not certain.

    The order is certain for torch's own layers; one child; a Flatten and then one child; features, an optional avgpool
    and a classifier.
    """
    module = _unwrapped(module)
    children = dict(module.named_children())
    if not is_stub(module):
        return None if _has_stub(module) else (module, "")
    if _has_own_tensors(module) or any(_has_stub(child) for child in children.values()):
        return None
    steps = _steps(children)
    if steps is None:
        return None
    order = " → ".join(steps)
    return nn.Sequential(steps), f"the module's class is not in the checkpoint; its children run in this order: {order}"


def in_attribute_order(module: nn.Module, *, required: bool = True) -> tuple[nn.Module, str] | None:
    """Return the children as a sequence, in the order of the attributes, and the assumption behind it.

    Raises:
        ArchitectureError: there is no such row: a child's class is not available, or the module has
            parameters of its own. Where it is not ``required``, None is returned instead.
    """
    module = _unwrapped(module)
    children = OrderedDict(module.named_children())
    if not children or _has_own_tensors(module) or any(_has_stub(child) for child in children.values()):
        if not required:
            return None
        raise ArchitectureError(
            f"the children can't be run in a row: {describe_children(module)}.",
            hint="Give the module's class: `model='MODULE:CALLABLE'`.",
        )
    order = " → ".join(children)
    return nn.Sequential(children), f"as `attribute_order` says, forward runs the children in this order: {order}"


def describe_children(module: nn.Module) -> str:
    """The children by name and class, for a message."""
    return (
        ", ".join(f"{name} ({type(child).__name__})" for name, child in _unwrapped(module).named_children()) or "none"
    )


def missing_class(module: nn.Module) -> nn.Module:
    """Return the outermost layer that stands in for an unavailable class; the module itself if none does."""
    module = _unwrapped(module)
    return next((layer for layer in module.modules() if is_stub(layer)), module)


def _steps(children: dict[str, nn.Module]) -> OrderedDict[str, nn.Module] | None:
    names = tuple(children)
    if len(names) == 1 and _is_chain(children[names[0]]):
        return _flattened_first(OrderedDict(children))
    if len(names) == 2 and isinstance(children[names[0]], nn.Flatten) and _is_chain(children[names[1]]):
        return OrderedDict(children)
    if names in (("features", "classifier"), ("features", "avgpool", "classifier")):
        *first, last = names
        steps = OrderedDict((name, children[name]) for name in first)
        steps["flatten"] = nn.Flatten()
        steps[last] = children[last]
        return steps
    return None


def _flattened_first(steps: OrderedDict[str, nn.Module]) -> OrderedDict[str, nn.Module]:
    """Images reach a Linear layer flattened; if no layer does that, ``forward`` did."""
    first = next(layer for layer in next(iter(steps.values())).modules() if not list(layer.children()))
    return OrderedDict(flatten=nn.Flatten(), **steps) if isinstance(first, nn.Linear) else steps


def _is_chain(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and len(module) > 0


def _unwrapped(module: nn.Module) -> nn.Module:
    """Return the child of a DataParallel, or else the module itself."""
    children = dict(module.named_children())
    if is_stub(module) and type(module).__name__ == "DataParallel" and list(children) == ["module"]:
        return _unwrapped(children["module"])
    return module


def _has_stub(module: nn.Module) -> bool:
    return any(is_stub(layer) for layer in module.modules())


def _has_own_tensors(module: nn.Module) -> bool:
    own: list[Tensor] = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return bool(own)
