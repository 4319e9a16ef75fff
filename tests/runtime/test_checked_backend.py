from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vgg_runtime import Classifier
from vgg_runtime.backends.base import Backend, SessionConfig
from vgg_runtime.backends.registry import open_backend
from vgg_runtime.bundle.checksums import PendingChecksums
from vgg_runtime.errors import BundleError
from vgg_runtime.loading import CheckedBackend

BATCH = np.random.default_rng(0).random((2, 3, 6, 8), dtype=np.float32)
DATA = "onnx-fp32/model.onnx.data"


def load(bundle: Path) -> Backend:
    return open_backend("onnxruntime", bundle / "onnx-fp32/model.onnx", SessionConfig("cpu", 1))


def checksums(bundle: Path) -> PendingChecksums:
    return PendingChecksums(bundle, {DATA: hashlib.sha256((bundle / DATA).read_bytes()).hexdigest()})


def test_a_checked_backend_is_the_backend(bundle: Path) -> None:
    checked, direct = CheckedBackend(lambda: load(bundle), checksums(bundle)), load(bundle)
    np.testing.assert_array_equal(checked.run(BATCH), direct.run(BATCH))
    assert (checked.device, checked.device_reason) == (direct.device, direct.device_reason)
    assert checked.metadata == direct.metadata


def test_weights_that_replace_the_hashed_ones_are_refused(bundle: Path, write_model: Callable) -> None:
    """Both are as good to load; only one was hashed."""

    def swap_and_load() -> Backend:
        write_model(bundle / "onnx-fp32/model.onnx", weight=-10.0, external_data="model.onnx.data")
        return load(bundle)

    with pytest.raises(BundleError, match=f"changed while it was being opened: {DATA}"):
        CheckedBackend(swap_and_load, checksums(bundle))


def test_no_answer_of_changed_weights_leaves(bundle: Path) -> None:
    expected = PendingChecksums(bundle, {DATA: "0" * 64})
    checked = CheckedBackend(lambda: load(bundle), expected)
    for _ in range(2):
        with pytest.raises(BundleError, match="changed after it was written"):
            checked.run(BATCH)


def test_a_change_is_a_better_reason_than_that_the_engine_fails(bundle: Path) -> None:
    (bundle / DATA).write_bytes(b"")
    with pytest.raises(BundleError, match="changed after it was written"):
        CheckedBackend(lambda: load(bundle), PendingChecksums(bundle, {DATA: "0" * 64}))


def test_engine_error_on_unchanged_files_is_kept(bundle: Path) -> None:
    (bundle / DATA).write_bytes(b"")
    with pytest.raises(BundleError, match="onnxruntime cannot load"):
        CheckedBackend(lambda: load(bundle), checksums(bundle))


def test_a_classifier_that_does_not_verify_takes_what_is_there(bundle: Path, photos: Path) -> None:
    (bundle / DATA).write_bytes((bundle / DATA).read_bytes().replace(b"\x20\x41", b"\x20\x42"))
    with pytest.raises(BundleError, match="changed after"), Classifier.open(bundle) as classifier:
        classifier.predict(photos / "red.png")
    with Classifier.open(bundle, verify=False) as classifier:
        assert classifier.predict(photos / "red.png")[0].label == "red"
