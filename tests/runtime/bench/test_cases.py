from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vgg_bench import cases, engines
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


class TestOnCuda:
    @pytest.fixture
    def bundle(self, make_bundle) -> Bundle:
        source = Source("state dict", "trained", 7, hashlib.sha256(b"weights").hexdigest())
        return open_bundle(make_bundle(weights={"onnx-fp32": 10.0, "onnx-int8-static": 10.0}, source=source))

    @pytest.fixture
    def checkpoint(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(pytorch, "why_no_torch", lambda: None)
        monkeypatch.setattr(cases, "why_no_torch_on_cuda", lambda: None)
        (tmp_path / "net.pth").write_bytes(b"weights")
        return tmp_path / "net.pth"

    def test_each_way_is_a_row_of_its_own(self, bundle: Bundle, installed) -> None:
        installed("onnxruntime-cuda", "onnxruntime-cuda-tf32", "onnxruntime-cuda-graph")
        assert [row[:2] for row in found(bundle, device="cuda")] == [
            ("onnx-fp32", "onnxruntime-cuda"),
            ("onnx-fp32", "onnxruntime-cuda-tf32"),
            ("onnx-fp32", "onnxruntime-cuda-graph"),
            ("onnx-int8-static", "onnxruntime-cuda"),
            ("onnx-int8-static", "onnxruntime-cuda-graph"),
        ]
        commands = {case.subject.backend: case.command for case in choose(bundle, BenchmarkRequest())[0]}
        modes = {
            backend: command[command.index("--cuda-mode") + 1] if "--cuda-mode" in command else None
            for backend, command in commands.items()
        }
        assert modes == {
            "onnxruntime-cuda": None,
            "onnxruntime-cuda-tf32": "tf32",
            "onnxruntime-cuda-graph": "graph",
        }

    def test_pytorch_and_lone_files_run_there_too(self, bundle: Bundle, installed, checkpoint: Path) -> None:
        installed("onnxruntime", "onnxruntime-cuda")
        lone = {"lone": checkpoint}
        rows = [row[:2] for row in found(bundle, variants=["onnx-fp32"], checkpoint=checkpoint, also=lone)]
        assert rows == [
            ("onnx-fp32", "onnxruntime"),
            ("onnx-fp32", "onnxruntime-cuda"),
            ("lone", "onnxruntime"),
            ("lone", "onnxruntime-cuda"),
            ("eager", "pytorch"),
            ("compiled", "pytorch"),
            *((how, "pytorch-cuda") for how in pytorch.IN_PYTORCH["cuda"]),
        ]
        for case in choose(bundle, BenchmarkRequest(checkpoint=checkpoint, also=lone))[0]:
            device = case.command[case.command.index("--device") + 1]
            assert device == case.subject.device == ("cuda" if "cuda" in case.subject.backend else "cpu")

    def test_a_lone_file_needs_onnxruntime_there(self, make_bundle, installed, checkpoint: Path) -> None:
        bundle = open_bundle(make_bundle(weights={"onnx-fp32": 10.0}))
        script = replace(bundle.manifest.variants[0], name="torchscript-fp32", format="torchscript")
        manifest = replace(bundle.manifest, variants=(*bundle.manifest.variants, script))
        installed("onnxruntime", "torchscript-cuda")
        assert [row[:2] for row in found(replace(bundle, manifest=manifest), also={"lone": checkpoint})] == [
            ("onnx-fp32", "onnxruntime"),
            ("torchscript-fp32", "torchscript-cuda"),
            ("lone", "onnxruntime"),
        ]

    def test_a_pytorch_without_cuda_is_missed(self, bundle: Bundle, installed, checkpoint: Path, monkeypatch) -> None:
        installed("onnxruntime-cuda")
        monkeypatch.setattr(cases, "why_no_torch_on_cuda", lambda: "no CUDA")
        chosen, absent = choose(bundle, BenchmarkRequest(checkpoint=checkpoint, device="cuda"))
        assert {case.subject.backend for case in chosen} == {"onnxruntime-cuda"}
        assert absent == {"pytorch-cuda": "no CUDA"}

    def test_a_device_leaves_the_others_backends_out(self, bundle: Bundle, installed) -> None:
        installed("onnxruntime", "onnxruntime-cuda")
        assert {row[1] for row in found(bundle, device="cpu")} == {"onnxruntime"}
        with pytest.raises(UsageError, match="onnxruntime-cuda does not run on `cpu`"):
            choose(bundle, BenchmarkRequest(device="cpu", backends=["onnxruntime-cuda"]))
        installed("onnxruntime")
        with pytest.raises(MissingCapabilityError, match="nothing can be measured here: onnxruntime-cuda: no"):
            choose(bundle, BenchmarkRequest(device="cuda"))


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
