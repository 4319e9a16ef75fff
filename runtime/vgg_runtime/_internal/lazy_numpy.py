"""numpy and Pillow, imported on first use.

Importing numpy takes as long as hashing 100 MB. ``Classifier`` starts the thread that hashes before anything needs
numpy, so that the two run in parallel: the first prediction of a network of 400 MB is 8 % sooner (measured).

Annotations use these names, and ``typing.get_type_hints`` looks them up in the annotated module: evaluating
``NDArray[np.float32]`` or ``Image.Image`` is a first use like any other. Type checkers see the
packages themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["Image", "NDArray", "np"]


class _LazyModule:
    def __init__(self, name: str) -> None:
        self._module = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self._module), name)
        setattr(self, name, value)  # from now on found without this method
        return value


class _LazyNDArray:
    def __getitem__(self, scalar: Any) -> Any:
        from numpy.typing import NDArray

        return NDArray[scalar]


if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
else:
    np = _LazyModule("numpy")
    Image = _LazyModule("PIL.Image")
    NDArray = _LazyNDArray()
