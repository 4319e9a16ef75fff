"""The only import of torchvision.

PyPI's torchvision wheels for Linux are compiled against the CUDA build of torch. With a CPU-only torch of the same
version the compiled operators do not load, and ``import torchvision`` fails because two of them have no
schema (``operator torchvision::nms does not exist``). Classifiers and transforms never call either, so declaring
the schemas is enough.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any, cast

from vgg_runtime.errors import MissingCapabilityError

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# A torch.library.Library removes its schemas when it is garbage-collected.
_kept_alive: list[Any] = []


@cache
def import_torchvision() -> ModuleType:
    """Return the ``torchvision`` package, first declaring its two operators if they are missing.

    Raises:
        MissingCapabilityError: torchvision is not installed, or does not match the installed torch.
    """
    try:
        import torchvision  # noqa: TID251 - the only import
    except ImportError as error:
        raise MissingCapabilityError(
            "this needs torchvision, which is not installed.",
            hint='Install the build-machine extra: pip install "vgg-deploy[export,cpu]".',
        ) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare_missing_operators()
        import torchvision  # noqa: TID251
    return cast("ModuleType", torchvision)


def _declare_missing_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    _kept_alive.append(library)
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)  # type: ignore[no-untyped-call]
