from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vgg_bench import engines
from vgg_bench.cases import BenchmarkRequest, choose
from vgg_bench.engines import ENGINES
from vgg_bench.measurement import pytorch
from vgg_bench.measurement.pytorch import open_checkpoint
from vgg_runtime._internal.cpu import available_threads
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.bundle.directory import Bundle, open_bundle
from vgg_runtime.bundle.manifest import Source
from vgg_runtime.errors import BundleError, CheckpointError, MissingCapabilityError, UsageError

ALL = available_threads()


@pytest.fixture
def opened(make_bundle) -> Bundle:
    return open_bundle(make_bundle(weights={"onnx-fp32": 10.0, "onnx-int8-static": 10.0}))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say which engines this machine has."""

    def only(*names: str) -> None:
        for name, engine in ENGINES.items():
            why = None if name in names else f"no {name} here"
            monkeypatch.setitem(ENGINES, name, replace(engine, why_absent=lambda why=why: why))

    return only


def found(bundle: Bundle, **request: object) -> list[tuple[str, str, int, int]]:
    cases = [each.subject for each in choose(bundle, BenchmarkRequest(**request))[0]]
    return [(each.variant, each.backend, each.batch_size, each.threads) for each in cases]


def test_default_is_each_variant_on_each_backend(opened: Bundle, installed) -> None:
    installed("onnxruntime", "openvino")
    assert found(opened) == [
        ("onnx-fp32", "onnxruntime", 1, ALL),
        ("onnx-fp32", "openvino", 1, ALL),
        ("onnx-int8-static", "onnxruntime", 1, ALL),
        ("onnx-int8-static", "openvino", 1, ALL),
    ]
    # What runs no variant of the bundle is not missed.
    assert choose(opened, BenchmarkRequest())[1] == {"onnxruntime-cuda": "no onnxruntime-cuda here"}


def test_settings_are_combined(opened: Bundle, installed) -> None:
    installed("onnxruntime")
    assert found(opened, variants=["onnx-fp32"], batch_sizes=[1, 8, 1], threads=[2, 1]) == [
        ("onnx-fp32", "onnxruntime", batch, threads) for batch in (1, 8) for threads in (2, 1)
    ]


def test_a_fixed_batch_size_is_the_default_and_the_only_one(make_bundle, installed) -> None:
    installed("onnxruntime")
    fixed = open_bundle(make_bundle(batch=4))
    assert found(fixed) == [("onnx-fp32", "onnxruntime", 4, ALL)]
    assert found(fixed, batch_sizes=[4]) == [("onnx-fp32", "onnxruntime", 4, ALL)]
    with pytest.raises(UsageError, match="fixed at 4, got 1"):
        choose(fixed, BenchmarkRequest(batch_sizes=[1, 4]))


def test_the_worker_is_told_what_to_run(opened: Bundle, installed) -> None:
    installed("onnxruntime-cuda")
    (candidate,) = choose(opened, BenchmarkRequest(variants=["onnx-int8-static"], batch_sizes=[8], threads=[2]))[0]
    assert candidate.bytes == opened.manifest.variant("onnx-int8-static").bytes
    told = dict(zip(candidate.command[-10::2], candidate.command[-9::2], strict=True))
    assert told == {
        "--variant": "onnx-int8-static",
        "--backend": "onnxruntime",
        "--device": "cuda",
        "--batch-size": "8",
        "--threads": "2",
    }


def test_a_lone_file_stands_beside_the_variants(opened: Bundle, installed, tmp_path: Path) -> None:
    installed("onnxruntime")
    (tmp_path / "lone.onnx").write_bytes(b"12345")
    candidates, _ = choose(opened, BenchmarkRequest(variants=["onnx-fp32"], also={"lone": tmp_path / "lone.onnx"}))
    assert (candidates[1].subject.variant, candidates[1].subject.backend, candidates[1].bytes) == (
        "lone",
        "onnxruntime",
        5,
    )


def test_a_backend_that_was_asked_for_and_is_absent_is_an_error(opened: Bundle, installed) -> None:
    installed("onnxruntime")
    with pytest.raises(MissingCapabilityError, match="this machine lacks openvino: no openvino here"):
        choose(opened, BenchmarkRequest(backends=["onnxruntime", "openvino"]))
    installed()
    with pytest.raises(MissingCapabilityError, match="nothing can be measured here: onnxruntime: no onnxruntime here"):
        choose(opened, BenchmarkRequest())


def test_names_that_are_unknown_are_refused(opened: Bundle) -> None:
    with pytest.raises(UsageError, match="unknown backend tensorrt") as refused:
        choose(opened, BenchmarkRequest(backends=["tensorrt"]))
    assert "onnxruntime-cuda" in refused.value.hint
    with pytest.raises(BundleError, match="no variant 'onnx-fp64'"):
        choose(opened, BenchmarkRequest(variants=["onnx-fp64"]))
    with pytest.raises(UsageError, match="runs none of the variants"):
        choose(opened, BenchmarkRequest(backends=["torchscript"]))


def test_the_checkpoint_is_run_in_pytorch_both_ways(make_bundle, installed, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    installed("onnxruntime")
    checkpoint = tmp_path / "net.pth"
    checkpoint.write_bytes(b"weights")
    source = Source("state dict", "trained", 7, hashlib.sha256(b"weights").hexdigest())
    bundle = open_bundle(make_bundle(source=source))
    assert [row[:2] for row in found(bundle, checkpoint=checkpoint)] == [
        ("onnx-fp32", "onnxruntime"),
        ("eager", "pytorch"),
        ("compiled", "pytorch"),
    ]
    checkpoint.write_bytes(b"others!")
    with pytest.raises(CheckpointError, match="is not the checkpoint that the bundle was exported from"):
        choose(bundle, BenchmarkRequest(checkpoint=checkpoint))
    with pytest.raises(CheckpointError, match="cannot be read"):
        choose(bundle, BenchmarkRequest(checkpoint=tmp_path / "nowhere.pth"))


def test_a_checkpoint_without_pytorch_is_an_error(opened: Bundle, installed, tmp_path: Path, monkeypatch) -> None:
    installed("onnxruntime")
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(MissingCapabilityError, match=r"cannot be run here: torch is not installed: pip install"):
        choose(opened, BenchmarkRequest(checkpoint=tmp_path / "net.pth"))
    monkeypatch.setattr(pytorch, "entry_points", lambda group: ())
    with pytest.raises(MissingCapabilityError, match="can run a checkpoint as 'eager'"):
        open_checkpoint("eager", tmp_path / "net.pth", SessionConfig("cpu", 1), opened.manifest)


def test_this_machine_tells_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every environment that runs this has onnxruntime."""
    assert ENGINES["onnxruntime"].why_absent() is None
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    for name, package in (("openvino", "openvino"), ("torchscript", "torch")):
        assert f"{package} is not installed" in (ENGINES[name].why_absent() or "")
