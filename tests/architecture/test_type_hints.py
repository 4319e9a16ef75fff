"""What introspection needs of the public API: pydantic, documentation tools and editors resolve its type hints."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray
from packages import PACKAGES
from PIL import Image

from vgg_runtime import Classifier, ImageSource, Manifest


def public_objects() -> Iterator[Any]:
    """Every public class and function of the packages, and every public method of those classes."""
    for package in map(import_module, PACKAGES):
        for name in package.__all__:
            value = getattr(package, name)
            if inspect.isfunction(value):
                yield pytest.param(value, id=f"{package.__name__}.{name}")
            elif inspect.isclass(value):
                yield pytest.param(value, id=f"{package.__name__}.{name}")
                for method_name, method in public_methods(value):
                    yield pytest.param(method, id=f"{package.__name__}.{name}.{method_name}")


def public_methods(owner: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, member in vars(owner).items():
        function = member.fget if isinstance(member, property) else inspect.unwrap(getattr(member, "__func__", member))
        if inspect.isfunction(function) and (name in ("__init__", "__call__") or not name.startswith("_")):
            yield name, function


@pytest.mark.parametrize("annotated", list(public_objects()))
def test_type_hints_of_public_names_resolve(annotated: Any) -> None:
    hints = get_type_hints(annotated)
    assert [name for name, hint in hints.items() if unresolved(hint)] == []


def unresolved(hint: object) -> bool:
    if typing.get_origin(hint) is typing.Literal:
        return False
    return isinstance(hint, str | typing.ForwardRef) or any(map(unresolved, typing.get_args(hint)))


def test_resolved_hints_are_types_of_numpy_and_pillow() -> None:
    assert get_type_hints(Classifier.logits)["return"] == NDArray[np.float32]
    assert get_type_hints(Manifest.prepare)["image"] is Image.Image
    assert Image.Image in typing.get_args(get_type_hints(Classifier.predict)["image"])


def test_image_source_resolves_in_annotations_of_others() -> None:
    def annotated(image: ImageSource | None, images: list[ImageSource]) -> None: ...

    hints = get_type_hints(annotated)
    assert {str, Image.Image, type(None)} <= set(typing.get_args(hints["image"]))
    (item,) = typing.get_args(hints["images"])
    assert Image.Image in typing.get_args(item)
