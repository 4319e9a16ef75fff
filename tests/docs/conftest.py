"""The folder that a reader of the documentation is in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vgg_runtime.bundle.directory import Bundle


@pytest.fixture(scope="session")
def reader_folder(
    example, whole_bundle: Bundle, calibration_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The files that pages and docstrings name: those of the example, its images, its bundle, an ONNX file."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(example.folder, folder / "examples" / "fashion_mnist")
    for file in ("slim_vgg.pth", "preprocess.json", "class_indices.json"):
        shutil.copy(example.folder / file, folder)
    shutil.copytree(example.images, folder / "photos")
    shutil.copytree(calibration_photos, folder / "training_images")
    shutil.copy(example.images / "coat" / "00006.png", folder / "coat.png")
    shutil.copytree(whole_bundle.directory, folder / "slim_vgg.bundle")
    for file in ("model.onnx", "model.onnx.data"):
        shutil.copy(whole_bundle.directory / "onnx-fp32" / file, folder)
    return folder
