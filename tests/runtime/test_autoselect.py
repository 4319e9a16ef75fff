from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vgg_run.cli import group
from vgg_runtime import Classifier, _autoselect_worker, autoselect
from vgg_runtime.autoselect import choose_backend, fastest, installed_engines
from vgg_runtime.backends.base import BackendChoice, SessionConfig
from vgg_runtime.bundle.directory import open_bundle
from vgg_runtime.errors import SelfTestError, SignatureError

CPU = SessionConfig("cpu", 1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VGG_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The backends of every trial that is made; each has the same end."""
    made: list[list[str]] = []

    def end(bundle: object, variant: object, config: object, backends: list[str]) -> BackendChoice:
        made.append(backends)
        return BackendChoice("openvino", "the fastest here", {"onnxruntime": 2.0, "openvino": 1.0})

    monkeypatch.setattr(autoselect, "_try", end)
    return made


def choose(bundle: Path, config: SessionConfig = CPU) -> BackendChoice:
    opened = open_bundle(bundle)
    return choose_backend(opened, opened.manifest.variants[0], config)


def the_file(cache: Path) -> Path:
    (file,) = (path for path in cache.rglob("*") if path.is_file())
    return file


class TestTheFastest:
    @pytest.mark.parametrize(
        ("onnxruntime", "openvino", "backend", "reason"),
        [
            ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], "openvino", "the fastest here: onnxruntime 2e+03 ms, openvino 1e+03 ms"),
            ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], "onnxruntime", "the fastest here"),
            ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], "onnxruntime", "the fastest here"),
            ([1.0, 1.0, 1.0], [0.97, 0.97, 0.97], "onnxruntime", "as fast as any here"),
            ([1.0, 1.0, 1.0], [0.5, 0.5, 0.99], "onnxruntime", "as fast as any here"),
            ([1.0, 9.0, 1.0], [0.9, 8.0, 0.9], "openvino", "the fastest here"),
        ],
    )
    def test_a_tie_goes_to_onnxruntime(
        self, onnxruntime: list[float], openvino: list[float], backend: str, reason: str
    ) -> None:
        rounds = {"onnxruntime": [[each] for each in onnxruntime], "openvino": [[each] for each in openvino]}
        choice = fastest(rounds)
        assert choice.backend == backend
        assert choice.reason.startswith(reason)

    def test_a_round_counts_by_its_median(self) -> None:
        assert fastest({"onnxruntime": [[1, 1, 9]], "openvino": [[2, 0.1, 2]]}).latency_ms == {
            "onnxruntime": 1000,
            "openvino": 2000,
        }

    def test_without_onnxruntime_the_least_latency_wins(self) -> None:
        assert fastest({"openvino": [[0.001]]}).backend == "openvino"


class TestWhatNeedsNoTrial:
    def test_one_engine(self, bundle: Path, trials: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(autoselect, "installed_engines", lambda: {"onnxruntime": "onnxruntime 1"})
        assert choose(bundle) == BackendChoice("onnxruntime", "no other backend is installed")
        assert trials == []

    def test_nothing_to_hold_another_backend_to(
        self, make_bundle: Callable[..., Path], trials: list[list[str]]
    ) -> None:
        choice = choose(make_bundle(golden_samples=None))
        assert choice.backend == "onnxruntime"
        assert "no golden outputs" in choice.reason
        assert trials == []

    def test_torchscript(self, bundle: Path, trials: list[list[str]]) -> None:
        opened = open_bundle(bundle)
        variant = replace(opened.manifest.variants[0], name="torchscript-fp32", format="torchscript")
        assert choose_backend(opened, variant, CPU).backend == "torchscript"
        assert trials == []

    def test_cuda(self, bundle: Path, trials: list[list[str]]) -> None:
        alone = BackendChoice("onnxruntime", "the only one that runs on CUDA")
        assert choose(bundle, SessionConfig("cuda", 1)) == alone
        assert trials == []

    def test_a_program_without_a_python(
        self, bundle: Path, trials: list[list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        assert choose(bundle).backend == "onnxruntime"
        assert trials == []


class TestMemory:
    def test_a_second_choice_needs_no_trial(self, bundle: Path, trials: list[list[str]]) -> None:
        assert choose(bundle) == choose(bundle)
        assert trials == [["onnxruntime", "openvino"]]

    def test_the_file_is_readable(self, bundle: Path, trials: list[list[str]], cache: Path) -> None:
        choose(bundle)
        stored = json.loads(the_file(cache).read_text())
        assert the_file(cache).parent == cache / "backends"
        assert stored["backend"] == "openvino"
        assert stored["latency_ms"] == {"onnxruntime": 2.0, "openvino": 1.0}
        assert stored["key"]["threads"] == "1"
        assert stored["key"]["engines"] == ", ".join(installed_engines().values())
        assert stored["key"]["onnx-fp32/model.onnx"] in (bundle / "bundle.json").read_text()

    @pytest.mark.parametrize(
        "config", [SessionConfig("cpu", 2), SessionConfig("auto", 1), SessionConfig("cpu", 1, "throughput")]
    )
    def test_other_threads_devices_or_profiles_have_their_own(
        self, bundle: Path, trials: list[list[str]], config: SessionConfig
    ) -> None:
        choose(bundle)
        choose(bundle, config)
        assert len(trials) == 2

    @pytest.mark.parametrize(
        ("name", "other"),
        [("cpu_model_name", lambda: "another CPU"), ("installed_engines", lambda: {"a": "onnxruntime 9", "b": "b 1"})],
    )
    def test_another_cpu_or_version_forgets(
        self, bundle: Path, trials: list[list[str]], monkeypatch: pytest.MonkeyPatch, name: str, other: Any
    ) -> None:
        choose(bundle)
        monkeypatch.setattr(autoselect, name, other)
        choose(bundle)
        assert len(trials) == 2

    def test_another_model_has_its_own(
        self, bundle: Path, trials: list[list[str]], edit_manifest: Callable[..., None]
    ) -> None:
        choose(bundle)
        edit_manifest(bundle, lambda data: data["variants"][0]["sha256"].update({"onnx-fp32/model.onnx": "0" * 64}))
        choose(bundle)
        assert len(trials) == 2

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("backend", None),
            ("backend", "fastest"),
            ("backend", {"openvino": 1.0}),
            ("reason", 1),
            ("latency_ms", None),
            ("latency_ms", {"openvino": "quick"}),
            ("another", 1),
        ],
    )
    def test_a_damaged_file_is_as_none(
        self, bundle: Path, trials: list[list[str]], cache: Path, field: str, value: Any
    ) -> None:
        choice = choose(bundle)
        stored = json.loads(the_file(cache).read_text())
        the_file(cache).write_text(json.dumps(stored | {field: value}))
        assert choose(bundle) == choice
        assert choose(bundle) == choice
        assert len(trials) == 2


WRONG_BACKEND = """
import sys
from vgg_runtime.backends.{module} import {name} as Backend
from vgg_runtime._autoselect_worker import run as start
run = Backend.run
Backend.run = lambda self, batch: run(self, batch) + 1
start(sys.argv[1:])
"""


class TestTrial:
    """Real processes of the engines that are installed."""

    @pytest.fixture
    def answer_wrongly(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """Make the processes of these backends give outputs that are off by one."""
        command = autoselect._command
        modules = {"onnxruntime": ("onnxruntime_cpu", "OnnxRuntimeBackend")}
        modules["openvino"] = ("openvino", "OpenVinoBackend")

        def pretend(*backends: str) -> None:
            def altered(bundle: Any, variant: Any, config: SessionConfig, backend: str) -> list[str]:
                python, *_ = whole = command(bundle, variant, config, backend)
                if backend not in backends:
                    return whole
                module, name = modules[backend]
                return [python, "-P", "-c", WRONG_BACKEND.format(module=module, name=name), *whole[4:]]

            monkeypatch.setattr(autoselect, "_command", altered)

        return pretend

    @pytest.mark.parametrize(("batch", "profile"), [("batch", "latency"), ("batch", "throughput"), (3, "low-memory")])
    def test_auto_opens_one_of_the_two_and_tells_what_was_measured(
        self,
        make_bundle: Callable[..., Path],
        photos: Path,
        caplog: pytest.LogCaptureFixture,
        batch: str | int,
        profile: Any,
    ) -> None:
        bundle = make_bundle(batch=batch)
        caplog.set_level(logging.INFO, "vgg_runtime")
        with Classifier.open(bundle, backend="auto", profile=profile) as classifier:
            assert classifier.backend in ("onnxruntime", "openvino")
            for name in ("onnxruntime", "openvino"):
                assert f"{name} " in classifier.backend_reason.partition(": ")[2]
            assert f"backend {classifier.backend}: {classifier.backend_reason}" in caplog.messages
            assert classifier.predict(photos / "lime.png")[0].label == "lime"

    def test_a_backend_that_answers_otherwise_is_not_chosen(
        self, bundle: Path, answer_wrongly: Callable[..., None]
    ) -> None:
        answer_wrongly("openvino")
        choice = choose(bundle)
        assert choice.backend == "onnxruntime"
        assert "openvino: its outputs differ from the golden ones: signal-to-noise ratio" in choice.reason
        answer_wrongly("onnxruntime")
        assert choose(bundle, SessionConfig("cpu", 2)).backend == "openvino"

    def test_without_any_that_answers_rightly_there_is_no_choice(
        self, bundle: Path, answer_wrongly: Callable[..., None], cache: Path
    ) -> None:
        answer_wrongly("onnxruntime", "openvino")
        with pytest.raises(
            SelfTestError, match=r"no backend reproduces the golden outputs of onnx-fp32: onnxruntime: .*; openvino: "
        ):
            choose(bundle)
        assert not cache.exists()

    def test_failed_trial_gives_the_default_and_stores_nothing(
        self, bundle: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
    ) -> None:
        for executable in ("/bin/false", "/nothing/here"):
            monkeypatch.setattr(sys, "executable", executable)
            choice = choose(bundle)
            assert (choice.backend, choice.latency_ms) == ("onnxruntime", {})
            assert "no trial could be run here" in choice.reason
        assert not cache.exists()

    def test_a_process_that_ends_early_leaves_the_default(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        code = "import sys; sys.stdin.readline() and print([1.0], flush=True)"
        monkeypatch.setattr(autoselect, "_command", lambda *_: [sys.executable, "-c", code])
        choice = choose(bundle)
        assert (choice.backend, choice.latency_ms) == ("onnxruntime", {})
        assert choice.reason.endswith("no trial could be run here: a process ended while it was timed")

    @pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="this is no environment of its own")
    def test_the_processes_import_from_where_this_one_does(self, bundle: Path) -> None:
        script = (
            "import sys; sys.executable = sys._base_executable  # which has none of the packages\n"
            "from vgg_runtime import Classifier\n"
            f"with Classifier.open({str(bundle)!r}, backend='auto') as classifier: print(classifier.backend_reason)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert "onnxruntime " in done.stdout
        assert "openvino " in done.stdout

    def test_the_command_says_what_was_chosen(self, bundle: Path, photos: Path, trials: list[list[str]]) -> None:
        done = CliRunner().invoke(group, ["predict", str(bundle), str(photos), "--backend", "auto", "--json"])
        assert "backend: openvino (the fastest here)" in done.stderr
        assert [entry["predictions"][0]["label"] for entry in json.loads(done.stdout)] == ["blue", "lime", "red"]


def test_process_of_a_trial_is_held_to_the_key(
    signed_bundle: Path, signer: Any, edit_manifest: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # no turn is asked for
    opened = open_bundle(signed_bundle, key=signer.public)
    arguments = autoselect._command(opened, opened.manifest.variants[0], CPU, "onnxruntime")[4:]
    _autoselect_worker.main(*arguments)
    edit_manifest(signed_bundle, lambda data: data.update(tool_versions={}))
    with pytest.raises(SignatureError):
        _autoselect_worker.main(*arguments)


def test_a_lone_file_has_nothing_to_hold_another_backend_to(
    tmp_path: Path, write_model: Callable[..., None], make_manifest: Callable[..., Any]
) -> None:
    write_model(tmp_path / "model.onnx", metadata={"vgg_deploy.json": make_manifest().dump()})
    with Classifier.open(tmp_path / "model.onnx", backend="auto") as classifier:
        assert classifier.backend == "onnxruntime"
        assert "no golden outputs" in classifier.backend_reason


def test_without_a_wish_the_format_decides(bundle: Path) -> None:
    with Classifier.open(bundle) as classifier:
        assert (classifier.backend, classifier.backend_reason) == (
            "onnxruntime",
            "runs files of this format by default",
        )
