"""From the command line to the options of an export."""

from __future__ import annotations

from pathlib import Path

from vgg_export import CalibrationOptions, CompressionOptions, ModelOptions, OnnxOptions, Quantization, SampleOptions
from vgg_export.cli import command, export_options
from vgg_export.planning.options import Options

COMMAND_ONLY = {"checkpoint", "output", "sign", "web", "onnxruntime_web", "triton", "overwrite", "dry_run", "as_json"}


def parsed(*arguments: str) -> Options:
    parameters = command.make_context("vgg-export", ["vgg16.pth", *arguments]).params
    return export_options({name: value for name, value in parameters.items() if name not in COMMAND_ONLY})


def test_command_without_options_has_the_defaults_of_python() -> None:
    assert parsed() == Options()


def test_every_option_of_the_command_reaches_its_field() -> None:
    flags = {
        "--model": "vgg16",
        "--weights": "ema",
        "--format": "onnx",
        "--preprocess": "half",
        "--input-size": "64x32",
        "--labels": "imagenet",
        "--samples": "val",
        "--samples-size": "40",
        "--quantize": "static",
        "--calibration": "photos",
        "--calibration-size": "80",
        "--calibration-method": "minmax",
        "--target": "vnni",
        "--min-agreement": "0.9",
        "--min-snr": "20",
        "--compress": "3x",
        "--max-accuracy-drop": "0.5",
        "--samples-other": "odd",
        "--tune": "2.5",
        "--opset": "18",
        "--batch": "4",
        "--seed": "3",
    }
    switches = ["--attribute-order", "--allow-nonfinite", "--all-layers", "--single-file"]
    switches += ["--embed-preprocessing", "--no-verify"]
    assert parsed(*(word for flag in flags.items() for word in flag), *switches) == Options(
        model=ModelOptions("vgg16", weights="ema", attribute_order=True, allow_nonfinite=True),
        formats=("onnx",),
        preprocess="half",
        input_size=(64, 32),
        labels="imagenet",
        samples=SampleOptions(Path("val"), size=40),
        quantize=Quantization(("static",), target="vnni", min_agreement=0.9, min_snr=20, all_layers=True),
        calibration=CalibrationOptions(Path("photos"), size=80, method="minmax"),
        compress=CompressionOptions(3.0, min_agreement=0.9, max_accuracy_drop=0.5, samples_other=Path("odd"), tune=2.5),
        onnx=OnnxOptions(opset=18, single_file=True),
        batch=4,
        embed_preprocessing=True,
        verify=False,
        seed=3,
    )
    of_the_command = {
        "--output",
        "--sign",
        "--web",
        "--onnxruntime-web",
        "--triton",
        "--overwrite",
        "--dry-run",
        "--json",
        "--version",
    }
    options = {*flags, *switches, *of_the_command}
    assert {param.opts[-1] for param in command.params if param.param_type_name == "option"} == options
