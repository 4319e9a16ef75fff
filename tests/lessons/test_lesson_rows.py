"""Every row of the table as its owner uses it: saved, exported, verified, and run on real images by the runtime."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from lesson_export import Exported, answers, export_row, owners_answers
from lesson_images import DIGITS
from lesson_networks import FlowerVGG
from lesson_rows import Row, lesson_rows

# The tests of each package run the same lines in less time, and they are what the figure is of.
pytestmark = pytest.mark.no_cover

# One VGG-16 of the full size; more of them would take minutes.
ROWS = lesson_rows(small=True)
RTOL, ATOL = 1e-3, 1e-5  # of probabilities


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_runtime_answers_as_the_owner_s_module_does(row: Row, images: Path) -> None:
    with TemporaryDirectory() as folder:  # rather than tmp_path, which would keep gigabytes
        exported = export_row(row, Path(folder), images, formats=("onnx",) if row.large else ("onnx", "torchscript"))
        check_parameters(exported)
        check_answers(exported)
        if row.trained:
            check_accuracy(exported)


def test_flowers_vgg16_has_the_lessons_parameter_count() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in FlowerVGG("D", 5).parameters()) == 134_281_029


def check_parameters(exported: Exported) -> None:
    if exported.row.parameters is not None:
        assert sum(parameter.numel() for parameter in exported.owner.parameters()) == exported.row.parameters


def check_answers(exported: Exported) -> None:
    expected, manifest = owners_answers(exported), exported.bundle.manifest
    another_image = np.roll(expected, 1, axis=0)
    assert not np.allclose(another_image, expected, rtol=10 * RTOL, atol=10 * ATOL), "any image gives this answer"
    for variant in manifest.variants:
        found, labels = answers(exported, variant.name)
        np.testing.assert_allclose(found, expected, rtol=RTOL, atol=ATOL)
        if exported.labels is not None:
            assert labels == [exported.labels[index] for index in found.argmax(axis=1)]
        assert variant.parity is not None
        assert variant.parity.top1_agreement_with_ties == 1
    assert (exported.labels is None) == (manifest.labels is not None and manifest.labels[0] == "tench")


def check_accuracy(exported: Exported) -> None:
    truth = [DIGITS.index(file.parent.name) for file in exported.files]
    before, after = (
        (found.argmax(axis=1) == truth).mean() for found in (owners_answers(exported), answers(exported)[0])
    )
    assert after == before > 0.5
    for variant in exported.bundle.manifest.variants:
        assert variant.accuracy is not None
        assert (variant.accuracy.images, variant.accuracy.eager) == (len(truth), before)
        assert variant.accuracy.variant == before
