"""Signed bundles: with a key, nothing reaches an engine that the owner of the key did not sign."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_runtime import Classifier, loading
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.registry import open_backend
from vgg_runtime.errors import BundleError, SignatureError, UsageError
from vgg_runtime.loading import OpenedModel, open_model

DATA = "onnx-fp32/model.onnx.data"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that an engine was given, in their order."""
    files: list[Path] = []

    def recorded(name: str, model: Path, config: SessionConfig) -> Any:
        files.append(model)
        return open_backend(name, model, config)

    monkeypatch.setattr(loading, "open_backend", recorded)
    return files


def open_with(bundle: Path, key: Path | None) -> OpenedModel:
    return open_model(bundle, None, None, SessionConfig("cpu", 1), verify=True, key=key)


def replace_weights(bundle: Path) -> None:
    """As good to load as the right ones."""
    (bundle / DATA).write_bytes(np.diag(np.full(3, -10, np.float32)).tobytes())


def test_signed_bundle_predicts_with_the_key(signed_bundle: Path, photos: Path, signer: Any) -> None:
    with Classifier.open(signed_bundle, key=signer.public) as classifier:
        assert classifier.predict(photos / "red.png")[0].label == "red"


def test_unsigned_bundle_is_not_loaded_with_a_key(bundle: Path, signer: Any, loaded: list[Path]) -> None:
    with pytest.raises(SignatureError, match="is not signed"):
        open_with(bundle, signer.public)
    assert loaded == []


def test_changed_file_reaches_no_engine_with_a_key(signed_bundle: Path, signer: Any, loaded: list[Path]) -> None:
    replace_weights(signed_bundle)
    with pytest.raises(BundleError, match=f"changed after it was written: {DATA}"):
        open_with(signed_bundle, signer.public)
    assert loaded == []
    open_with(signed_bundle, None)  # which refuses at the first prediction
    assert loaded == [signed_bundle / "onnx-fp32/model.onnx"]


def test_file_changed_before_a_reload_reaches_no_engine(signed_bundle: Path, signer: Any, loaded: list[Path]) -> None:
    """A forked process loads the model again."""
    opened = open_with(signed_bundle, signer.public)
    loaded.clear()
    opened.load()
    assert loaded == [signed_bundle / "onnx-fp32/model.onnx"]
    replace_weights(signed_bundle)
    with pytest.raises(BundleError, match=f"changed after it was written: {DATA}"):
        opened.load()
    assert len(loaded) == 1


def test_what_is_remembered_is_hashed_with_a_key(
    decayed_bundle: Path, sign: Callable[[Path], Path], signer: Any, loaded: list[Path]
) -> None:
    open_with(sign(decayed_bundle), None).backend.run(np.zeros((1, 3, 6, 8), np.float32))
    loaded.clear()
    with pytest.raises(BundleError, match=f"changed after it was written: {DATA}"):
        open_with(decayed_bundle, signer.public)
    assert loaded == []


def test_key_without_verification_is_refused(signed_bundle: Path, signer: Any) -> None:
    with pytest.raises(UsageError, match="`key` has the files compared with their checksums, got `verify=False`"):
        Classifier.open(signed_bundle, key=signer.public, verify=False)


def test_key_for_a_lone_file_is_refused(signed_bundle: Path, signer: Any) -> None:
    with pytest.raises(UsageError, match="a single model file: it has no signature to verify"):
        Classifier.open(signed_bundle / "onnx-fp32" / "model.onnx", key=signer.public)


def test_unsigned_recommendation_chooses_among_what_is_signed(
    make_bundle: Callable[..., Path], sign: Callable[[Path], Path], signer: Any
) -> None:
    bundle = sign(make_bundle(weights={"onnx-fp32": 10.0, "onnx-fp16": 10.0}))
    for name, variant in (("onnx-fp16", "onnx-fp16"), ("../evil", "onnx-fp32")):
        (bundle / "measured.json").write_text(f'{{"recommended": "{name}", "machine": {{"processor": null}}}}')
        with Classifier.open(bundle, variant="recommended", key=signer.public) as classifier:
            assert classifier.variant == variant
