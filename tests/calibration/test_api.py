"""The public functions, on what a user has: a trained network through torch.onnx.export, and images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from PIL import Image

from vgg_calibration import METHODS, PRECISIONS, LayerSensitivity, Range, compute_ranges, measure_sensitivity, quantize
from vgg_models import load_model
from vgg_runtime import CalibrationError, ImageError, Preprocessing, UsageError

PREPROCESSING = Preprocessing("L", resize=(28, 28), mean=(0.2860,), std=(0.3530,))
CONVOLUTIONS = tuple(f"features.{i}" for i in (0, 3, 7, 10, 14, 17))
LINEAR = ("classifier.0", "classifier.3")

# dB that each precision keeps of the trained example; two layers in eight bits of seven are less than these.
LEAST_SNR_DB = {"fp16": 50, "int8-dynamic": 35, "int8-static": 30, "int8-weights": 35, "int4-weights": 15}


@pytest.fixture(scope="module")
def trained(example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained example, exported without any help of ours."""
    file = tmp_path_factory.mktemp("foreign") / "model.onnx"
    module = load_model(example.checkpoint).module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, on itself
        torch.onnx.export(
            module, (torch.zeros(2, 1, 28, 28),), file, dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False
        )
    return file


@pytest.fixture(scope="module")
def photos(calibration_photos: Path) -> np.ndarray:
    """Float32 (30, 1, 28, 28), of the images that ranges may come from."""
    files = sorted(calibration_photos.glob("*/*.png"))[::10]
    return np.stack([PREPROCESSING(Image.open(file)) for file in files])


@pytest.fixture(scope="module")
def ranges(trained: Path, photos: np.ndarray) -> dict[str, Range]:
    return compute_ranges(trained, [photos])


@pytest.fixture(scope="module")
def widest(trained: Path, photos: np.ndarray) -> dict[str, Range]:
    return compute_ranges(trained, [photos], "minmax")


@pytest.fixture
def unseen(test_photos: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Float32 (500, 1, 28, 28)."""
    return np.stack([PREPROCESSING.normalize(image[:, :, np.newaxis]) for image in test_photos[0]])


def outputs(file: Path, batch: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: batch})
    assert isinstance(output, np.ndarray)
    return output


def snr_db(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(10 * np.log10((expected**2).sum() / ((actual - expected) ** 2).sum()))


class TestQuantize:
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_trained_network_keeps_its_answers(
        self, trained: Path, photos: np.ndarray, unseen: np.ndarray, tmp_path: Path, precision: str
    ) -> None:
        quantized = quantize(trained, tmp_path / "q.onnx", precision, images=[photos])
        expected, actual = outputs(trained, unseen), outputs(tmp_path / "q.onnx", unseen)
        assert LEAST_SNR_DB[precision] < snr_db(actual, expected) < 90
        assert (actual.argmax(1) == expected.argmax(1)).mean() > 0.97
        in_float = CONVOLUTIONS if precision == "int8-dynamic" else ()
        assert quantized.in_float == in_float
        assert quantized.quantized == (CONVOLUTIONS + LINEAR)[len(in_float) :]
        float_bytes = trained.stat().st_size + trained.with_name("model.onnx.data").stat().st_size
        assert (tmp_path / "q.onnx").stat().st_size < 0.75 * float_bytes
        assert [path.name for path in tmp_path.iterdir()] == ["q.onnx"]

    def test_given_ranges_do_as_well_as_the_images_they_came_from(
        self, trained: Path, photos: np.ndarray, ranges: dict[str, Range], tmp_path: Path
    ) -> None:
        quantize(trained, tmp_path / "a.onnx", "int8-static", images=[photos])
        quantize(trained, tmp_path / "b.onnx", "int8-static", ranges=ranges)
        assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()

    def test_folder_gives_the_ranges_of_its_images(
        self, trained: Path, calibration_photos: Path, unseen: np.ndarray, tmp_path: Path
    ) -> None:
        quantize(trained, tmp_path / "q.onnx", "int8-static", images=calibration_photos, preprocessing=PREPROCESSING)
        assert snr_db(outputs(tmp_path / "q.onnx", unseen), outputs(trained, unseen)) > 30

    def test_target_and_method_reach_the_quantizers(
        self, trained: Path, photos: np.ndarray, unseen: np.ndarray, tmp_path: Path
    ) -> None:
        """8 bits of weight instead of 7, and ranges of the entropy method, which lose the most here."""
        expected = outputs(trained, unseen)
        figures = {}
        for name, options in {"any": {}, "vnni": {"target": "vnni"}, "entropy": {"method": "entropy"}}.items():
            quantize(trained, tmp_path / "q.onnx", "int8-static", images=[photos], **options)
            figures[name] = snr_db(outputs(tmp_path / "q.onnx", unseen), expected)
        assert figures["vnni"] > figures["any"] + 1
        assert figures["entropy"] < figures["any"] - 3

    def test_layers_in_float_are_those_that_were_named(
        self, trained: Path, ranges: dict[str, Range], photos: np.ndarray, tmp_path: Path
    ) -> None:
        noisiest = min(measure_sensitivity(trained, ranges, [photos[:8]]), key=lambda layer: layer.snr_db)
        quantized = quantize(trained, tmp_path / "q.onnx", "int8-static", ranges=ranges, in_float=noisiest.node)
        assert quantized.in_float == (noisiest.weight.removesuffix(".weight"),)
        assert len(quantized.quantized) == 7

    def test_shapes_that_are_computed_need_no_ranges(self, make_model: Callable[..., Any], tmp_path: Path) -> None:
        nodes = [
            helper.make_node("Shape", ["x"], ["sizes"], name="shape", end=1),
            helper.make_node("Concat", ["sizes", "rest"], ["rows"], name="concat", axis=0),
            helper.make_node("Reshape", ["x", "rows"], ["flat"], name="reshape"),
            helper.make_node("MatMul", ["flat", "weight"], ["y"], name="fc"),
        ]
        constants = {"rest": np.int64([-1]), "weight": np.eye(16, 3, dtype=np.float32)}
        onnx.save(make_model(nodes, constants, ["batch", 1, 4, 4]), tmp_path / "x.onnx")
        images = np.random.default_rng(0).random((8, 1, 4, 4), dtype=np.float32)
        ranges = compute_ranges(tmp_path / "x.onnx", [images])
        assert ranges.keys() == {"x", "flat", "y"}
        quantize(tmp_path / "x.onnx", tmp_path / "q.onnx", "int8-static", ranges=ranges)
        (layer,) = measure_sensitivity(tmp_path / "x.onnx", ranges, [images])
        assert layer.snr_db > 20

    def test_ranges_of_another_model_are_refused(self, trained: Path, tmp_path: Path) -> None:
        with pytest.raises(CalibrationError, match=r"`ranges` lack .* activations of this model"):
            quantize(trained, tmp_path / "q.onnx", "int4-weights", ranges={"x": Range(-1, 1)})

    def test_output_stays_as_it_was_when_quantizing_fails(self, make_model: Callable, tmp_path: Path) -> None:
        convolution = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
        model = make_model([convolution], {"w": np.ones((1, 1, 8, 8), np.float32)}, ["batch", 1, 8, 8])
        onnx.save(model, tmp_path / "m.onnx")
        (tmp_path / "q.onnx").write_bytes(b"before")
        with pytest.raises(CalibrationError, match=r"int8-dynamic: .* nothing to quantize .*: Conv\."):
            quantize(tmp_path / "m.onnx", tmp_path / "q.onnx", "int8-dynamic")
        assert (tmp_path / "q.onnx").read_bytes() == b"before"
        assert len(list(tmp_path.iterdir())) == 2

    def test_model_itself_is_never_overwritten(self, trained: Path) -> None:
        before = trained.read_bytes()
        with pytest.raises(UsageError, match="`output` is the model itself"):
            quantize(trained, trained.parent / "." / trained.name, "int8-weights")
        assert trained.read_bytes() == before

    @pytest.mark.parametrize(
        ("precision", "options", "message"),
        [
            ("int8", {}, r"unknown precision 'int8'\.\nAvailable: fp16, int8-dynamic"),
            ("int8-static", {"target": "neon"}, r"unknown target 'neon'\.\nAvailable: any, vnni"),
            ("int8-static", {"method": "max"}, r"unknown method 'max'\.\nAvailable: minmax"),
            ("int8-static", {}, "int8-static needs `images` or `ranges`"),
            ("int8-static", {"images": "photos"}, "the folder photos, which needs `preprocessing`"),
            ("int8-weights", {"in_float": ["fc9"]}, "no layer with weights called fc9"),
            (
                "int4-weights",
                {"images": [np.zeros((1, 1, 28, 28), np.float32)], "preprocessing": PREPROCESSING},
                "`preprocessing` is for a folder",
            ),
        ],
    )
    def test_wrong_argument_is_named(
        self, trained: Path, tmp_path: Path, precision: str, options: dict, message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            quantize(trained, tmp_path / "q.onnx", precision, **options)
        assert not list(tmp_path.iterdir())


class TestComputeRanges:
    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_but_minmax_clips(
        self, trained: Path, photos: np.ndarray, widest: dict[str, Range], method: str
    ) -> None:
        ranges = compute_ranges(trained, iter([photos[:16], photos[16:]]), method)
        assert ranges.keys() == widest.keys()
        assert all(widest[name].low <= span.low <= span.high <= widest[name].high for name, span in ranges.items())
        assert (ranges == widest) == (method == "minmax")

    def test_widest_ranges_are_the_activations_own(
        self, trained: Path, photos: np.ndarray, widest: dict[str, Range]
    ) -> None:
        logits, (first, *_, last) = outputs(trained, photos), widest.values()
        assert first == Range(float(photos.min()), float(photos.max()))
        assert (last.low, last.high) == pytest.approx((logits.min(), logits.max()), rel=1e-4)

    def test_single_images_are_batches_of_one(self, trained: Path, photos: np.ndarray) -> None:
        expected = compute_ranges(trained, [photos[:1], photos[1:2]], "minmax")
        assert compute_ranges(trained, photos[:2], "minmax") == expected

    @pytest.mark.parametrize(
        ("images", "error", "message"),
        [
            ([], CalibrationError, "there are no images"),
            ([np.zeros((1, 28, 28, 1), np.float32)], ImageError, r"shape \[1, 28, 28, 1\].*batch', 1, 28, 28"),
            ([np.zeros((1, 1, 28, 28))], ImageError, "the batch is float64"),
            ([np.full((1, 1, 28, 28), np.nan, np.float32)], ImageError, "not finite"),
        ],
        ids=["none", "layout", "dtype", "nan"],
    )
    def test_images_that_do_not_fit_are_refused(
        self, trained: Path, images: list[np.ndarray], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            compute_ranges(trained, images)

    def test_unreadable_image_of_a_folder_is_told(self, trained: Path, photos: np.ndarray, tmp_path: Path) -> None:
        for i in range(20):
            Image.new("L", (28, 28), 10 * i).save(tmp_path / f"{i:02}.png")
        (tmp_path / "broken.png").write_bytes(b"no image")
        with pytest.warns(UserWarning, match=r"skipped broken\.png"):
            ranges = compute_ranges(trained, tmp_path, "minmax", preprocessing=PREPROCESSING)
        black, grey = ((np.float32(value) / 255 - np.float32(0.2860)) / np.float32(0.3530) for value in (0, 190))
        assert next(iter(ranges.values())) == Range(float(black), float(grey))


class TestMeasureSensitivity:
    def test_layers_come_in_the_order_of_the_graph(
        self, trained: Path, ranges: dict[str, Range], photos: np.ndarray
    ) -> None:
        layers = measure_sensitivity(trained, ranges, [photos[:8]])
        assert tuple(layer.weight.removesuffix(".weight") for layer in layers) == CONVOLUTIONS + LINEAR
        assert all(isinstance(layer, LayerSensitivity) and 20 < layer.snr_db < 70 for layer in layers)

    def test_target_with_finer_weights_is_less_noisy(
        self, trained: Path, ranges: dict[str, Range], photos: np.ndarray
    ) -> None:
        seven, eight = (measure_sensitivity(trained, ranges, [photos[:8]], target=target) for target in ("any", "vnni"))
        assert all(fine.snr_db > coarse.snr_db for fine, coarse in zip(eight, seven, strict=True))

    def test_ranges_of_another_model_are_refused(self, trained: Path, photos: np.ndarray) -> None:
        with pytest.raises(CalibrationError, match=r"`ranges` lack .* activations of this model"):
            measure_sensitivity(trained, {"x": Range(-1, 1)}, [photos])
