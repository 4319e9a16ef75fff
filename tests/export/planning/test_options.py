from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass

import pytest

from vgg_export import CalibrationOptions, CompressionOptions, ModelOptions, Quantization, SampleOptions, export
from vgg_export.planning.options import Options
from vgg_runtime.errors import UsageError


@pytest.mark.parametrize(
    ("group", "values", "message"),
    [
        (ModelOptions, {"weights": "averaged"}, "unknown weights averaged"),
        (SampleOptions, {"size": 0}, r"`samples\.size` must be an integer >= 1, got 0"),
        (CalibrationOptions, {"size": 1.5}, r"`calibration\.size` must be an integer >= 1, got 1\.5"),
        (CalibrationOptions, {"method": "kl"}, "unknown calibration method kl"),
        (Quantization, {"methods": ["int3"]}, "unknown quantization int3"),
        (Quantization, {"target": "sparc"}, "unknown target sparc"),
        (Quantization, {"methods": ["dynamic"], "min_snr": 20}, "apply to int8-static"),
        (Quantization, {"methods": ["dynamic"], "all_layers": True}, "applies to int8-static"),
        (Quantization, {"methods": ["static"], "min_snr": float("nan")}, "must be a finite number of dB"),
        (Quantization, {"methods": ["static"], "min_snr": float("inf")}, "must be a finite number of dB"),
        (Quantization, {"methods": ["static"], "min_agreement": float("nan")}, "must be a share from 0 to 1"),
        (Quantization, {"methods": ["static"], "min_agreement": float("inf")}, "must be a share from 0 to 1"),
        (CompressionOptions, {"speedup": 1}, "must be 'auto' or a number above 1, got 1"),
        (CompressionOptions, {"speedup": "3x"}, "must be 'auto' or a number above 1, got '3x'"),
        (CompressionOptions, {"min_agreement": 97}, "must be a share from 0 to 1, got 97"),
        (CompressionOptions, {"max_accuracy_drop": -1}, "must be from 0 to 100 points, got -1"),
        (CompressionOptions, {"tune": 5}, "trains the network that `compress` makes"),
        (CompressionOptions, {"speedup": 4, "tune": 0}, "must be a number of minutes above 0, got 0"),
        (CompressionOptions, {"speedup": 4, "tune": float("inf")}, "must be a number of minutes above 0, got inf"),
        (CompressionOptions, {"speedup": 4, "tune": float("nan")}, "must be a number of minutes above 0, got nan"),
        (Options, {"samples": SampleOptions(size=3)}, "has no effect without images"),
        (Options, {"quantize": Quantization(min_agreement=0.9)}, "applies to int8-static and to low-rank variants"),
        (Options, {"compress": CompressionOptions("auto")}, "needs real images to measure layers on"),
    ],
)
def test_group_with_wrong_value_is_refused(group: type, values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        group(**values)


def test_quantization_takes_one_method_as_a_word() -> None:
    assert Quantization("static", min_snr=20) == Quantization(["static"], min_snr=20)
    with pytest.raises(UsageError, match="unknown quantization int8\\."):
        Quantization("int8")


def test_export_and_options_have_the_same_defaults() -> None:
    defaults, parameters = Options(), inspect.signature(export).parameters
    for name in (field.name for field in fields(Options)):
        default = getattr(defaults, name)
        if is_dataclass(default):
            assert parameters[name].default in (None, ())
            assert default == type(default)()
        else:
            assert parameters[name].default == default


def test_room_for_quantization_halves_what_may_be_lost() -> None:
    roomy = CompressionOptions(4.0, min_agreement=0.96, max_accuracy_drop=1.5).with_room(0.5)
    assert (roomy.speedup, roomy.min_agreement, roomy.max_accuracy_drop) == (4.0, 0.98, 0.75)
