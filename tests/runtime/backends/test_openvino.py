from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from vgg_export.variants.registry import VARIANTS
from vgg_runtime import Classifier
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.openvino import OpenVinoBackend, import_openvino
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.errors import MissingCapabilityError, RefusedInputError, VggDeployError
from vgg_runtime.verification import golden_mismatches

CPU = SessionConfig("cpu", 1)
BATCH = np.random.default_rng(0).random((2, 3, 6, 8), dtype=np.float32)


def test_auto_takes_the_cpu_and_says_why(model: Path) -> None:
    assert OpenVinoBackend(model, SessionConfig("auto", 1)).device_reason == "OpenVINO runs on the CPU"


def test_cuda_is_never_replaced_by_the_cpu(model: Path) -> None:
    with pytest.raises(MissingCapabilityError, match="does not run on CUDA"):
        OpenVinoBackend(model, SessionConfig("cuda", 1))


def test_a_model_without_metadata_has_none(tmp_path: Path, write_model: Callable[..., None]) -> None:
    write_model(tmp_path / "bare.onnx")
    assert OpenVinoBackend(tmp_path / "bare.onnx", CPU).metadata == {}


def test_session_has_its_threads_and_rounds_nothing(model: Path) -> None:
    # In a process of its own, which may use every core: OpenVINO counts them once.
    program = f"""
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, range(os.cpu_count()))
from pathlib import Path
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.openvino import OpenVinoBackend

for threads in (1, min(2, os.cpu_count())):
    compiled = OpenVinoBackend(Path({str(model)!r}), SessionConfig("cpu", threads))._model
    assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_array_of_any_stride_is_taken(model: Path) -> None:
    turned = np.asfortranarray(BATCH)
    np.testing.assert_array_equal(OpenVinoBackend(model, CPU).run(turned), OpenVinoBackend(model, CPU).run(BATCH))


def test_an_operator_that_openvino_lacks_is_named(tmp_path: Path) -> None:
    node = helper.make_node("NotInOpenVino", ["input"], ["output"], domain="com.microsoft")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 6, 8]) for name in ("input", "output")]
    graph = helper.make_graph([node], "network", ends[:1], ends[1:])
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=10), tmp_path / "model.onnx")
    with pytest.raises(RefusedInputError, match=r"it has no com\.microsoft\.NotInOpenVino") as refused:
        OpenVinoBackend(tmp_path / "model.onnx", CPU)
    assert "`backend='onnxruntime'`" in refused.value.hint


@pytest.mark.parametrize("variant", [spec.name for spec in VARIANTS if spec.format == "onnx"])
def test_every_onnx_variant_gives_the_golden_outputs(whole_bundle: Bundle, variant: str) -> None:
    with Classifier.open(whole_bundle.directory, variant=variant, backend="openvino") as classifier:
        assert (classifier.backend, classifier.backend_reason) == ("openvino", "as asked")
        assert golden_mismatches(whole_bundle, classifier) == []


def test_a_lone_file_still_knows_its_preprocessing_and_labels(example, example_bundle: Bundle) -> None:
    lone = example_bundle.path(example_bundle.manifest.variant("onnx-fp32").file)
    with Classifier.open(lone, backend="openvino") as classifier:
        assert classifier.manifest.preprocessing == example_bundle.manifest.preprocessing
        assert classifier.predict(example.images / "bag" / "00018.png")[0].label == "bag"


def test_no_answer_leaves_from_changed_weights(bundle: Path) -> None:
    weights = bundle / "onnx-fp32" / "model.onnx.data"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with (
        pytest.raises(VggDeployError, match="SHA-256"),
        Classifier.open(bundle, backend="openvino") as classifier,
    ):
        classifier.logits(BATCH)


OPEN = """
import sys
from pathlib import Path
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.registry import open_backend
open_backend("openvino", Path(sys.argv[1]), SessionConfig("cpu", 1))
print("openvino_telemetry" in sys.modules)
"""


class TestImport:
    @pytest.fixture
    def fresh(self) -> Iterator[None]:
        import_openvino.cache_clear()
        yield
        import_openvino.cache_clear()

    def test_a_missing_package_says_what_to_install(
        self, fresh: None, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "openvino", None)
        with pytest.raises(MissingCapabilityError, match="openvino cannot be imported") as missing:
            OpenVinoBackend(model, CPU)
        assert 'pip install "vgg-deploy[openvino]"' in missing.value.hint

    def test_telemetry_is_not_started_and_home_stays_clean(self, model: Path, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir()
        environment = {
            name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")
        }
        done = run_python(OPEN, model, **{**environment, "HOME": str(home)})
        assert (done.stdout, done.stderr) == ("False\n", "")
        assert list(home.iterdir()) == []

    def test_a_telemetry_that_was_there_before_stays(self, fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "openvino_telemetry", os)
        import_openvino()
        assert sys.modules["openvino_telemetry"] is os


FORK = """
import os, sys
from pathlib import Path
import numpy as np
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.registry import open_backend
batch = np.ones((2, 3, 6, 8), np.float32)
backend = open_backend("openvino", Path(sys.argv[1]), SessionConfig("cpu", 2))
before = backend.run(batch)
child = os.fork()
if child == 0:
    backend = open_backend("openvino", Path(sys.argv[1]), SessionConfig("cpu", 2))
    sys.exit(0 if np.array_equal(backend.run(batch), before) else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_opens_its_own_and_ends_in_peace(model: Path) -> None:
    done = run_python(FORK, model, **os.environ)
    assert (done.stdout, done.stderr) == ("0\n", "")


def run_python(code: str, *arguments: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
