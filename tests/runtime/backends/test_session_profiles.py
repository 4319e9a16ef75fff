"""What a profile comes to in a real session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from vgg_runtime import Classifier
from vgg_runtime.backends import onnxruntime_cpu
from vgg_runtime.backends.base import PROFILES, ProfileName, SessionConfig
from vgg_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend
from vgg_runtime.errors import UsageError

PREPACKING, SPINNING = "session.disable_prepacking", "session.intra_op.allow_spinning"


@pytest.fixture
def options(tmp_path: Path, write_model: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    write_model(tmp_path / "model.onnx")

    def of(profile: ProfileName, precision: str | None = "fp32", *, quota: float | None = None) -> Any:
        monkeypatch.setattr(onnxruntime_cpu, "cpu_quota", lambda: quota)
        config = SessionConfig("cpu", 1, profile, precision)
        return OnnxRuntimeBackend(tmp_path / "model.onnx", config)._session.get_session_options()

    return of


def test_every_name_is_in_the_table() -> None:
    assert tuple(PROFILES) == get_args(ProfileName)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("precision", ["int8-static", "int8-dynamic", "int8-weights", "int4-weights", None])
def test_quantized_weights_are_packed_and_so_are_unknown_ones(options: Any, profile: Any, precision: Any) -> None:
    assert options(profile, precision).get_session_config_entry(PREPACKING) == "0"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_float_weights_are_packed_for_batches_only(options: Any, precision: str) -> None:
    settings = {name: options(name, precision).get_session_config_entry(PREPACKING) for name in PROFILES}
    assert settings == {"latency": "1", "throughput": "0", "low-memory": "1", "shared": "1"}


def test_memory_is_kept_unless_it_is_short(options: Any) -> None:
    kept = {name: options(name).enable_cpu_mem_arena for name in PROFILES}
    assert kept == {"latency": True, "throughput": True, "low-memory": False, "shared": True}


@pytest.mark.parametrize(("quota", "spins"), [(None, "1"), (1.5, "0")])
def test_threads_do_not_spin_on_a_quota(options: Any, quota: float | None, spins: str) -> None:
    assert options("latency", quota=quota).get_session_config_entry(SPINNING) == spins


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_gives_the_same_answers(bundle: Path, profile: Any) -> None:
    batch = np.random.default_rng(0).random((3, 3, 6, 8), dtype=np.float32)
    with Classifier.open(bundle) as default, Classifier.open(bundle, profile=profile) as tuned:
        np.testing.assert_allclose(tuned.logits(batch), default.logits(batch), rtol=1e-6)


def test_an_unknown_profile_is_refused_with_the_known_ones(bundle: Path) -> None:
    with pytest.raises(
        UsageError, match="`profile` must be one of latency, throughput, low-memory, shared, got 'speed'"
    ):
        Classifier.open(bundle, profile="speed")  # type: ignore[arg-type]
