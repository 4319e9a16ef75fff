"""What most tests share: the trained example, and the bundle that it exports to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vgg_runtime.bundle import Bundle


@dataclass(frozen=True)
class Example:
    """The trained slim VGG of examples/fashion_mnist: 28 x 28 grey images, ten classes."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "slim_vgg.pth"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def options(self) -> dict[str, Any]:
        """What the demo gives to export()."""
        return {
            "preprocess": self.folder / "preprocess.json",
            "labels": self.folder / "class_indices.json",
            "samples": self.images,
        }


@pytest.fixture(scope="session")
def example() -> Example:
    return Example(Path(__file__).parent.parent / "examples" / "fashion_mnist")


@pytest.fixture(scope="session")
def example_bundle(example: Example, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The example as the demo exports it. Tests read it and do not change it."""
    from vgg_export import export

    return export(example.checkpoint, tmp_path_factory.mktemp("example") / "slim_vgg.bundle", **example.options)
