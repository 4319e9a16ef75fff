"""export(): what it writes, and that a variant that differs from eager PyTorch is never written."""

from __future__ import annotations

import copy
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, numpy_helper
from PIL import Image
from torch import nn

from vgg_calibration.onnx_io import read_onnx, write_onnx
from vgg_calibration.statistics.sensitivity import LayerSensitivity
from vgg_export import CalibrationOptions, OnnxOptions, Quantization, export, pipeline
from vgg_export.variants import registry
from vgg_export.variants.registry import ONNX_FP32, QUANTIZE_OPTIONS, VARIANTS, ExportContext, VariantSpec, WrittenFiles
from vgg_export.verification import gate
from vgg_models import load_model
from vgg_runtime import Bundle, Classifier, Manifest, Preprocessing, verify_bundle
from vgg_runtime.bundle.directory import SIGNATURE
from vgg_runtime.errors import (
    CalibrationError,
    CheckpointError,
    KeyFileError,
    LabelsError,
    ParityError,
    PreprocessingError,
    UsageError,
)

FLOAT32 = [spec for spec in VARIANTS if spec.precision == "fp32"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of forty grey images of 8 x 8."""
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    for i in range(40):
        image = Image.fromarray(random.integers(0, 256, (8, 8), np.uint8))
        image.save(tmp_path / "photos" / f"{i:02d}.png")
    return tmp_path / "photos"


def of_another_network(spec: VariantSpec, change) -> VariantSpec:
    """``spec``, but of a network that ``change`` was done to."""

    def write(context: ExportContext, file: Path) -> WrittenFiles:
        other = torch.load(io.BytesIO(saved(context.module)), weights_only=False)
        with torch.no_grad():
            change(other)
        return spec.write(replace(context, module=other), file)

    return replace(spec, write=write)


def saved(network: nn.Module) -> bytes:
    file = io.BytesIO()
    torch.save(network, file)
    return file.getvalue()


def lose_a_thousandth(network: nn.Module) -> None:
    network[5].weight[2] *= 0.999


def forget_the_activation(network: nn.Module) -> None:
    network[2] = nn.Identity()


def swap_two_classes(network: nn.Module) -> None:
    network[5].weight[[0, 1]] = network[5].weight[[1, 0]]


def become_nan(network: nn.Module) -> None:
    network[5].bias[3] = float("nan")


def test_one_format_and_method_may_be_words(small_checkpoint, tmp_path: Path, untimed: None) -> None:
    bundle = export(small_checkpoint(), tmp_path / "a.bundle", input_size=8, formats="onnx", quantize="dynamic")
    assert [variant.name for variant in bundle.manifest.variants] == ["onnx-fp32", "onnx-int8-dynamic"]


def test_signed_export_passes_with_the_public_key(small_checkpoint, tmp_path: Path, signer) -> None:
    output = tmp_path / "a.bundle"
    export(small_checkpoint(), output, input_size=8, formats="onnx", sign=signer.private)
    assert set(verify_bundle(output, key=signer.public)) == {"onnx-fp32"}
    again = export(small_checkpoint(), output, input_size=8, formats="onnx", overwrite=True)
    assert not again.path(SIGNATURE).exists()


def test_public_key_to_sign_with_is_refused_before_work(small_checkpoint, tmp_path: Path, signer) -> None:
    steps: list[str] = []
    with pytest.raises(KeyFileError, match="does not hold a private Ed25519 key"):
        export(
            small_checkpoint(),
            tmp_path / "a.bundle",
            input_size=8,
            sign=signer.public,
            on_step=lambda *step: steps.append(step[0]),
        )
    assert steps == []
    assert not (tmp_path / "a.bundle").exists()


@pytest.mark.parametrize("spec", FLOAT32, ids=lambda spec: spec.name)
@pytest.mark.parametrize("change", [lose_a_thousandth, forget_the_activation, swap_two_classes, become_nan])
def test_a_variant_with_other_weights_is_a_miss_and_no_bundle(
    small_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: VariantSpec, change
) -> None:
    checkpoint = small_checkpoint()
    monkeypatch.setattr("vgg_export.variants.registry.VARIANTS", (of_another_network(spec, change),))
    with pytest.raises(ParityError, match=rf"{spec.name} differs from eager PyTorch.*No bundle was written"):
        export(checkpoint, tmp_path / "new" / "a.bundle", input_size=8)
    assert [file.name for file in tmp_path.iterdir()] == ["small.pth"]


QUANTIZED_ONNX = [spec for spec in VARIANTS if spec.format == "onnx" and spec.quantize]


def with_the_next_channels_constants(spec: VariantSpec) -> VariantSpec:
    """``spec``, but every weight, scale and bias is that of the channel before: a broken quantizer."""

    def write(context: ExportContext, file: Path) -> WrittenFiles:
        files = spec.write(context, file)
        model = read_onnx(file)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.ndim and values.dtype != np.int64:  # those are shapes
                tensor.CopyFrom(numpy_helper.from_array(np.roll(values, 1, axis=0), tensor.name))
        write_onnx(model, file, single_file=False)
        return files

    return replace(spec, write=write)


@pytest.mark.parametrize("spec", QUANTIZED_ONNX, ids=lambda spec: spec.name)
def test_a_broken_quantizers_variant_is_left_out(
    small_checkpoint, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untimed: None, spec: VariantSpec
) -> None:
    options = {"input_size": 8, "formats": ["onnx"], "quantize": [spec.quantize], "calibration": photos}
    checkpoint = small_checkpoint()
    monkeypatch.setattr("vgg_export.variants.registry.VARIANTS", (ONNX_FP32, with_the_next_channels_constants(spec)))
    bundle = export(checkpoint, tmp_path / "a.bundle", **options)
    (left_out,) = bundle.manifest.left_out
    assert re.match(rf"{spec.name} differs from eager PyTorch by more than {spec.tolerance.name}", left_out.reason)
    assert left_out.parity is not None
    assert left_out.parity.misses(spec.tolerance)
    assert left_out.remedies[-1] == f"leave out `quantize=['{spec.quantize}']`"
    assert left_out.reason in (bundle.directory / "report.md").read_text()
    assert [variant.name for variant in bundle.manifest.variants] == ["onnx-fp32"]
    assert not (bundle.directory / spec.name).exists()
    assert set(verify_bundle(bundle.directory)) == {"onnx-fp32"}


def test_quantized_torchscript_of_other_weights_is_left_out(
    small_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untimed: None
) -> None:
    fp32, quantized = (spec for spec in VARIANTS if spec.format == "torchscript")
    checkpoint = small_checkpoint()
    broken = (fp32, of_another_network(quantized, swap_two_classes))
    monkeypatch.setattr("vgg_export.variants.registry.VARIANTS", broken)
    options = {"input_size": 8, "formats": ["torchscript"], "quantize": ["dynamic"]}
    manifest = export(checkpoint, tmp_path / "a.bundle", **options).manifest
    assert [variant.name for variant in manifest.variants] == ["torchscript-fp32"]
    assert [variant.name for variant in manifest.left_out] == ["torchscript-int8-dynamic"]


def test_a_quantized_variant_that_fails_to_run_is_left_out(
    small_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untimed: None
) -> None:
    opened = gate.open_variant

    def fail(batch: np.ndarray) -> np.ndarray:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(
        gate,
        "open_variant",
        lambda spec, folder: fail if spec.quantize else opened(spec, folder),
    )
    options = {"input_size": 8, "formats": ["onnx"], "quantize": ["dynamic"]}
    (left_out,) = export(small_checkpoint(), tmp_path / "a.bundle", **options).manifest.left_out
    assert left_out.reason == "onnx-int8-dynamic fails on a batch of 1, which eager PyTorch takes: no kernel."
    assert left_out.parity is None


def test_labels_that_differ_leave_a_variant_out(
    example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untimed: None
) -> None:
    rank = Classifier.rank

    def wrong_in_eight_bits(self: Classifier, outputs: np.ndarray, top_k: int | None = 5) -> list:
        return rank(self, -outputs if "int8" in self.variant else outputs, top_k=top_k)

    monkeypatch.setattr(Classifier, "rank", wrong_in_eight_bits)
    options = {"formats": ["onnx"], "quantize": ["dynamic"], **example.options}
    bundle = export(example.checkpoint, tmp_path / "a.bundle", **options)
    assert [variant.name for variant in bundle.manifest.variants] == ["onnx-fp32"]
    assert "from image bytes, the best label agrees" in bundle.manifest.left_out[0].reason
    assert not (bundle.directory / "onnx-int8-dynamic").exists()


def test_fixed_batch_in_single_files_passes(small_checkpoint, photos: Path, tmp_path: Path, untimed: None) -> None:
    bundle = export(
        small_checkpoint(),
        tmp_path / "a.bundle",
        input_size=8,
        formats=["onnx"],
        quantize=Quantization(QUANTIZE_OPTIONS, target="vnni"),
        calibration=CalibrationOptions(photos, size=20, method="minmax"),
        onnx=OnnxOptions(single_file=True),
        batch=3,
    )
    assert [variant.name for variant in bundle.manifest.variants] == ["onnx-fp32", *(r.name for r in QUANTIZED_ONNX)]
    for variant in bundle.manifest.variants:
        assert variant.external_data is None
        assert variant.target == (None if variant.precision == "fp32" else "vnni")
    assert bundle.manifest.calibration is not None
    assert (len(bundle.manifest.calibration.images), bundle.manifest.calibration.method) == (20, "minmax")
    assert set(verify_bundle(bundle.directory)) == {variant.name for variant in bundle.manifest.variants}


def test_int4_convolutions_are_int8_with_images_else_float16(
    small_checkpoint, photos: Path, tmp_path: Path, untimed: None
) -> None:
    options = {"input_size": 8, "formats": ["onnx"], "quantize": ["int4-weights"]}
    for name, calibration, kind in (("bare", None, TensorProto.FLOAT16), ("calibrated", photos, TensorProto.INT8)):
        bundle = export(small_checkpoint(), tmp_path / name, calibration=calibration, **options)
        model = read_onnx(bundle.path("onnx-int4-weights/model.onnx"))
        assert [tensor.data_type for tensor in model.graph.initializer if list(tensor.dims) == [4, 1, 3, 3]] == [kind]
        assert (bundle.manifest.calibration is None) == (calibration is None)


def test_calibration_images_of_another_size_are_refused(small_checkpoint, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "short.json").write_text('{"channels": "L", "resize": 8}')
    Image.new("L", (20, 16)).save(photos / "wide.png")
    with pytest.raises(CalibrationError, match=r"wide\.png has 10 x 8 pixels"):
        export(
            small_checkpoint(),
            tmp_path / "a.bundle",
            input_size=8,
            preprocess=tmp_path / "short.json",
            quantize=["static"],
            calibration=photos / "wide.png",
        )


STATIC = {"input_size": 8, "formats": ["onnx"], "quantize": ["static"]}


def break_images(folder: Path, count: int) -> None:
    for file in sorted(folder.iterdir())[:count]:
        file.write_bytes(b"no image")


def test_unreadable_calibration_image_is_replaced(
    small_checkpoint, photos: Path, tmp_path: Path, untimed: None
) -> None:
    break_images(photos, 2)
    bundle = export(
        small_checkpoint(), tmp_path / "a.bundle", calibration=CalibrationOptions(photos, size=25), **STATIC
    )
    assert bundle.manifest.calibration is not None
    assert len(bundle.manifest.calibration.images) == 25


def test_fewer_readable_images_than_asked_for_are_refused(small_checkpoint, photos: Path, tmp_path: Path) -> None:
    break_images(photos, 2)
    (tmp_path / "judge").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "judge" / "a.png")
    with pytest.raises(CalibrationError, match=r"has 38 readable images .* 39 are needed \(2 are unreadable: 0"):
        export(
            small_checkpoint(),
            tmp_path / "a.bundle",
            calibration=CalibrationOptions(photos, size=39),
            samples=tmp_path / "judge",
            **STATIC,
        )


def test_noise_uses_as_many_images_at_any_batch_size(
    small_checkpoint, photos: Path, tmp_path: Path, untimed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def count(file: Path, context, batches) -> list[LayerSensitivity]:
        measured.extend(map(len, batches))
        return []

    monkeypatch.setattr("vgg_export.writing.precision_choice.measure_sensitivity", count)
    export(small_checkpoint(), tmp_path / "a.bundle", calibration=photos, batch=5, **STATIC)
    assert measured == [5, 5, 5, 5]  # 16 images, the last batch filled up


@pytest.mark.parametrize("count", [2, 3])
def test_a_budget_is_chosen_for_with_as_few_as_two_images(
    small_checkpoint, photos: Path, tmp_path: Path, untimed: None, count: int
) -> None:
    options = STATIC | {"quantize": Quantization(["static"], min_agreement=0.01)}
    calibration = CalibrationOptions(photos, size=count)
    bundle = export(small_checkpoint(), tmp_path / "a.bundle", calibration=calibration, **options)
    assert bundle.manifest.calibration is not None


def test_a_budget_takes_two_images(small_checkpoint, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"choose on others; .* has 1"):
        export(
            small_checkpoint(),
            tmp_path / "a.bundle",
            calibration=CalibrationOptions(photos, size=1),
            **STATIC | {"quantize": Quantization(["static"], min_snr=9)},
        )


@pytest.mark.parametrize("quantization", [{"min_snr": 300}, {"min_snr": 300, "all_layers": True}], ids=str)
def test_a_target_out_of_reach_leaves_int8_static_out(
    small_checkpoint, photos: Path, tmp_path: Path, untimed: None, quantization
) -> None:
    options = STATIC | {"quantize": Quantization(["static"], **quantization)}
    manifest = export(small_checkpoint(), tmp_path / "a.bundle", calibration=photos, **options).manifest
    assert [variant.name for variant in manifest.variants] == ["onnx-fp32"]
    (left_out,) = manifest.left_out
    assert re.fullmatch(
        r"onnx-int8-static misses the requested accuracy on the images held out: \d+\.\d+ dB, at least 300\.",
        left_out.reason,
    )
    assert left_out.remedies[0] == (
        "leave out `all_layers`, so that the noisiest layers can stay in float"
        if quantization.get("all_layers")
        else "lower `min_snr`"
    )


def test_what_may_end_in_a_sigmoid_is_told_of(small_checkpoint, tmp_path: Path) -> None:
    bundle = export(small_checkpoint(nn.Sigmoid()), tmp_path / "a.bundle", input_size=8, verify=False)
    assert any("ends in a Sigmoid" in assumption for assumption in bundle.manifest.architecture.assumptions)
    assert verify_bundle(bundle.directory) == {}


def test_a_batch_size_that_tracing_made_a_constant_is_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "baked_lesson.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self): super().__init__(192, 6)\n"
        "    def forward(self, x): return super().forward(x.reshape(int(x.shape[0]), 192))\n"
    )
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(nn.Linear(192, 6).state_dict(), "linear.pth")
    options = {"model": "baked_lesson:Net", "input_size": 8, "preprocess": "plain", "formats": ["torchscript"]}
    with pytest.raises(ParityError, match=r"torchscript-fp32 (fails on|gives .* for) a batch of 1"):
        export("linear.pth", "a.bundle", **options)
    assert not (tmp_path / "a.bundle").exists()
    assert export("linear.pth", "a.bundle", batch=2, **options).manifest.input.batch_size == 2


@pytest.mark.parametrize("ending", [None, nn.LogSoftmax(1), nn.Softmax(1)], ids=["logits", "LogSoftmax", "Softmax"])
def test_probabilities_are_right_whatever_the_network_ends_in(
    small_checkpoint, small_network, tmp_path: Path, ending: nn.Module | None
) -> None:
    endings = [] if ending is None else [ending]
    bundle = export(small_checkpoint(*endings), tmp_path / "a.bundle", input_size=8, preprocess="plain")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    with torch.no_grad():
        logits = small_network()(torch.from_numpy(pixels[np.newaxis, np.newaxis].astype(np.float32) / 255))
    expected = torch.softmax(logits, 1)[0]
    with Classifier.open(bundle.directory) as classifier:
        predictions = classifier.predict(Image.fromarray(pixels), top_k=6)
    assert [prediction.index for prediction in predictions] == expected.argsort(descending=True).tolist()
    probabilities = [prediction.probability for prediction in predictions]
    assert probabilities == pytest.approx(sorted(expected.tolist(), reverse=True), abs=1e-6)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)


def test_other_preprocessing_than_torchvisions_is_a_miss(
    example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vgg_export.verification import end_to_end

    theirs = end_to_end.torchvision_preprocess
    monkeypatch.setattr(end_to_end, "torchvision_preprocess", lambda *args: np.nextafter(theirs(*args), 9))
    with pytest.raises(ParityError, match="preprocessed differently by torchvision"):
        export(example.checkpoint, tmp_path / "a.bundle", **example.options)
    assert not list(tmp_path.iterdir())


def test_labels_are_held_against_the_reference_pipeline(
    example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every output agrees and the pixels do, yet the runtime ranks the classes wrongly."""
    rank = Classifier.rank
    monkeypatch.setattr(Classifier, "rank", lambda self, outputs, top_k=5: rank(self, -outputs, top_k=top_k))
    with pytest.raises(ParityError, match=r"from image bytes, the best label agrees .* on 0.0%"):
        export(example.checkpoint, tmp_path / "a.bundle", formats=["onnx"], **example.options)
    assert not list(tmp_path.iterdir())


def test_no_verify_gives_no_figures_and_no_golden_samples(small_checkpoint, tmp_path: Path) -> None:
    bundle = export(small_checkpoint(), tmp_path / "a.bundle", input_size=8, verify=False)
    assert bundle.manifest.golden is None
    assert all(variant.parity is None and variant.tolerance is None for variant in bundle.manifest.variants)
    assert "not verified" in (bundle.directory / "report.md").read_text()
    assert verify_bundle(bundle.directory) == {}


def test_assumptions_and_source_are_recorded(tmp_path: Path, small_checkpoint) -> None:
    manifest = export(small_checkpoint(), tmp_path / "a.bundle", input_size=8, verify=False).manifest
    assert any("plain is assumed for 1 channel" in assumption for assumption in manifest.architecture.assumptions)
    # A convolution to 4 planes of 8 x 8 and 64 numbers to 6 classes; the image itself is of 64.
    assert manifest.architecture.macs == 4 * 9 * 64 + 64 * 6
    assert manifest.architecture.activations == 64 + 4 * 64 + 6
    assert (manifest.source.weights, manifest.source.kind) == ("trained", "module")
    assert len(manifest.source.sha256 or "") == 64
    assert {"torch", "onnx", "vgg-deploy"} <= manifest.tool_versions.keys()


def unsourced(bundle: Bundle) -> Manifest:
    """The manifest without what only a file has, and without digests, which tell of the source."""
    manifest = bundle.manifest
    source = replace(manifest.source, bytes=None, sha256=None)
    variants = tuple(
        replace(variant, sha256=dict.fromkeys(variant.sha256, ""), bytes=0) for variant in manifest.variants
    )
    return replace(manifest, source=source, variants=variants, checksum=None)


def test_module_in_memory_gives_the_bundle_of_its_file(small_network, small_checkpoint, tmp_path: Path) -> None:
    network = small_network().train()
    before = copy.deepcopy(network.state_dict())
    from_module = export(network, tmp_path / "module.bundle", input_size=8)
    from_file = export(small_checkpoint(), tmp_path / "file.bundle", input_size=8)
    source = from_module.manifest.source
    assert (source.kind, source.bytes, source.sha256) == ("module", None, None)
    assert unsourced(from_module) == unsourced(from_file)
    assert_same_outputs(from_module, from_file)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_state_dict_in_memory_gives_the_bundle_of_its_file(tmp_path: Path) -> None:
    state = load_model("random:mnist-cnn").module.state_dict()
    before = copy.deepcopy(state)
    torch.save(state, tmp_path / "weights.pth")
    from_memory = export(state, tmp_path / "memory.bundle", formats=["onnx"])
    from_file = export(tmp_path / "weights.pth", tmp_path / "file.bundle", formats=["onnx"])
    source = from_memory.manifest.source
    assert (source.kind, source.weights, source.sha256) == ("state dict", "trained", None)
    assert unsourced(from_memory) == unsourced(from_file)
    assert_same_outputs(from_memory, from_file)
    torch.testing.assert_close(state, before, rtol=0, atol=0)


def assert_same_outputs(one: Bundle, other: Bundle) -> None:
    with Classifier(one.directory, device="cpu") as first, Classifier(other.directory, device="cpu") as second:
        batch = np.random.default_rng(0).random((2, *first.manifest.input.image_shape), dtype=np.float32)
        np.testing.assert_array_equal(first.logits(batch), second.logits(batch))


def test_preprocessing_and_labels_are_taken_as_objects(small_network, tmp_path: Path) -> None:
    preprocessing, labels = Preprocessing("L", resize=(8, 8), mean=(0.5,)), list("abcdef")
    bundle = export(
        small_network(), tmp_path / "a.bundle", formats=["onnx"], preprocess=preprocessing, labels=labels, verify=False
    )
    assert (bundle.manifest.preprocessing, bundle.manifest.labels) == (preprocessing, tuple(labels))
    assert bundle.manifest.input.size == (8, 8)  # that the preprocessing makes
    for wrong, error in (({"labels": labels[:5]}, LabelsError), ({"preprocess": Preprocessing()}, PreprocessingError)):
        with pytest.raises(error):
            export(small_network(), tmp_path / "b.bundle", input_size=8, **wrong)
    assert not (tmp_path / "b.bundle").exists()


def test_weights_of_a_module_that_are_nan_are_refused(small_network, tmp_path: Path) -> None:
    network = small_network()
    with torch.no_grad():
        become_nan(network)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        export(network, tmp_path / "a.bundle", input_size=8)


def test_static_quantization_of_a_module_asks_for_images(small_network, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        export(small_network(), tmp_path / "a.bundle", quantize=["static"])
    assert "`quantize=['static']` needs real images to compute ranges from" in refusal.value.message
    assert "`calibration=FOLDER_OF_PHOTOS`" in (refusal.value.hint or "")


def test_steps_are_told_in_order(small_checkpoint, tmp_path: Path) -> None:
    steps: list[str] = []
    export(small_checkpoint(), tmp_path / "a.bundle", input_size=8, on_step=lambda text, *_: steps.append(text))
    assert steps[0] == "reading the checkpoint"
    assert [step for step in dict.fromkeys(steps) if step.startswith("verifying onnx")] == ["verifying onnx-fp32"]


def test_noise_sample_fits_resize_by_shorter_side(small_checkpoint, tmp_path: Path) -> None:
    (tmp_path / "short.json").write_text('{"channels": "L", "resize": 8}')
    export(small_checkpoint(), tmp_path / "a.bundle", input_size=8, preprocess=tmp_path / "short.json")
    Image.new("L", (20, 16)).save(tmp_path / "wide.png")
    with pytest.raises(PreprocessingError, match="has 10 x 8 pixels"):
        export(
            small_checkpoint(),
            tmp_path / "b.bundle",
            input_size=8,
            preprocess=tmp_path / "short.json",
            samples=tmp_path / "wide.png",
        )


@pytest.mark.parametrize(
    "wrong",
    [{"formats": []}, {"formats": ["tflite"]}, {"batch": 0}, {"input_size": 0}, {"seed": -1}],
    ids=str,
)
def test_wrong_arguments_are_refused_before_anything_is_read(tmp_path: Path, wrong) -> None:
    with pytest.raises(UsageError):
        export(tmp_path / "none.pth", tmp_path / "a.bundle", **wrong)


def test_destination_is_checked_before_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a bundle"):
        export(tmp_path / "none.pth", tmp_path)


def test_every_variant_writes_to_its_own_folder() -> None:
    assert [spec.file.split("/")[0] for spec in VARIANTS] == [spec.name for spec in VARIANTS]
    assert len({spec.file for spec in VARIANTS}) == len(VARIANTS)
    assert set(registry.MODEL_FILE) == set(pipeline.FORMATS)


def test_an_export_leaves_the_threads_of_pytorch_alone(small_checkpoint, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        export(small_checkpoint(), tmp_path / "small.bundle", input_size=8)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
