"""Golden files and figures in JavaScript, compared with numpy and vgg_runtime.metrics."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vgg_runtime.bundle.manifest import OutputKind, Tolerance
from vgg_runtime.metrics import compare, probabilities

COMPARE = """
const { compare, misses } = await import("./vgg_runtime/metrics.js");
const rows = ({ shape: [count, length], ...values }) =>
  Array.from({ length: count }, (_, i) => Float32Array.from({ length }, (_, j) => values[i * length + j]));
const figures = compare(rows(input.reference), rows(input.actual), input.tolerance);
const bound = (value) => (value === Infinity ? "Infinity" : value === -Infinity ? "-Infinity" : value);
return { ...figures, snrDb: bound(figures.snrDb), misses: misses(figures, input.tolerance) };
"""


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_golden_file_in_javascript_equals_numpy(run_node, save: Callable[..., None], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "input": rng.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8),
        "output": rng.normal(size=(4, 10)).astype(np.float32),
    }
    save(tmp_path / "golden.npz", **arrays)
    body = 'return (await import("./vgg_runtime/npz.js")).readNpz(input)'
    read = run_node(body, np.fromfile(tmp_path / "golden.npz", np.uint8))
    for name, array in arrays.items():
        assert read[name]["shape"] == list(array.shape)
        assert base64.b64decode(read[name]["data"]) == array.tobytes()


@pytest.mark.parametrize("classes", [3, 10])
@pytest.mark.parametrize("noise", [1e-4, 0.3, 2.0])
def test_figures_in_javascript_equal_python(run_node, noise: float, classes: int) -> None:
    rng = np.random.default_rng(classes)
    reference = rng.normal(size=(6, classes)).astype(np.float32)
    actual = reference + noise * rng.normal(size=reference.shape).astype(np.float32)
    tolerance = Tolerance("test", 20, 0.999, 1, 0.9, tie=0.1)
    figures = run_node(COMPARE, {"reference": reference, "actual": actual, "tolerance": vars(tolerance)})
    expected = compare(reference, actual, [""] * 6, tie=tolerance.tie)
    assert figures["snrDb"] == pytest.approx(expected.snr_db, abs=1e-9)
    assert figures["cosine"] == pytest.approx(expected.cosine, abs=1e-12)
    assert figures["top1Agreement"] == pytest.approx(expected.top1_agreement_with_ties)
    assert figures["top5Agreement"] == (None if classes == 3 else pytest.approx(expected.top5_agreement))
    assert len(figures["misses"]) == len(expected.misses(tolerance))


@pytest.mark.parametrize("outputs", [np.eye(4, 8, dtype=np.float32), np.zeros((4, 8), np.float32)], ids=["1", "0"])
def test_equal_outputs_miss_nothing_in_javascript(run_node, outputs: np.ndarray) -> None:
    tolerance = vars(Tolerance("test", 100, 0.999999, 1, 1))
    figures = run_node(COMPARE, {"reference": outputs, "actual": outputs, "tolerance": tolerance})
    assert (figures["snrDb"], figures["misses"]) == ("Infinity", [])


def test_outputs_not_finite_miss_everything_in_javascript(run_node) -> None:
    outputs = np.eye(4, 8, dtype=np.float32)
    tolerance = vars(Tolerance("test", 1, 0.1, 0.1, 0.1))
    figures = run_node(COMPARE, {"reference": outputs, "actual": outputs * np.float32("nan"), "tolerance": tolerance})
    assert (figures["snrDb"], len(figures["misses"])) == ("-Infinity", 4)


@pytest.mark.parametrize("kind", ["logits", "log_probabilities", "probabilities"])
def test_probabilities_in_javascript_equal_python(run_node, kind: OutputKind) -> None:
    outputs = np.log(np.random.default_rng(0).dirichlet(np.ones(7), 1)).astype(np.float32)
    outputs = np.exp(outputs) if kind == "probabilities" else outputs + (kind == "logits") * np.float32(1000)
    body = 'return (await import("./vgg_runtime/metrics.js")).probabilities(input.outputs, input.kind)'
    actual = run_node(body, {"outputs": outputs[0], "kind": kind})
    np.testing.assert_allclose(actual, probabilities(outputs, kind)[0], rtol=1e-12)


def test_equal_outputs_rank_by_index_in_javascript(run_node) -> None:
    body = 'return (await import("./vgg_runtime/metrics.js")).ranking(input)'
    assert run_node(body, np.array([1, 3, 2, 3, 2], np.float32)) == [1, 3, 2, 4, 0]
