"""The folder that a reader of the documentation is in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vgg_runtime.bundle.directory import MANIFEST, SIGNATURE, Bundle
from vgg_runtime.bundle.signature import read_private_key, signature_of


@pytest.fixture(scope="session")
def reader_folder(
    example,
    whole_bundle: Bundle,
    calibration_photos: Path,
    make_keys: Callable[..., Any],
    install_engine: Callable[[Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What pages and docstrings name: the example's files, images and signed bundle, keys, an ONNX file, the engine."""
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
    manifest, private_key = folder / "slim_vgg.bundle" / MANIFEST, read_private_key(make_keys(folder, "signer").private)
    manifest.with_name(SIGNATURE).write_bytes(signature_of(manifest.read_bytes(), private_key))
    install_engine(folder)
    return folder
