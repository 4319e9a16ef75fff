from __future__ import annotations

from dataclasses import replace

import pytest

from vgg_calibration.targets import ANY_CPU
from vgg_export import CalibrationOptions, Quantization
from vgg_export.planning.options import Options
from vgg_export.variants.registry import VARIANTS
from vgg_export.verification.left_out import remedies
from vgg_runtime import Manifest
from vgg_runtime.bundle.manifest import Calibration, ParityFigures

STATIC = next(spec for spec in VARIANTS if spec.name == "onnx-int8-static")
FIGURES = ParityFigures(40, (1,), 0.1, 0.1, 20.0, 0.99, 0.9, 0.9, 0.9, "a.png")

LOWER = {
    "`min_snr`": {"min_snr": 23},
    "`min_agreement`": {"min_agreement": 0.95},
    "`min_agreement` and `min_snr`": {"min_agreement": 0.95, "min_snr": 23},
}


@pytest.fixture
def calibrated(whole_bundle) -> Manifest:
    calibration = Calibration("mse", tuple(map(str, range(80))), (), "", {}, {}, evaluation_snr_db=20.3)
    return replace(whole_bundle.manifest, calibration=calibration)


def advice(manifest: Manifest, figures: ParityFigures | None = FIGURES, **quantization: object) -> tuple[str, ...]:
    options = Options(quantize=Quantization(["static"], **quantization), calibration=CalibrationOptions("photos"))
    return remedies(STATIC, options, manifest, figures)


@pytest.mark.parametrize("options", LOWER)
def test_lower_what_was_asked_for_and_missed(calibrated: Manifest, options: str) -> None:
    assert advice(calibrated, **LOWER[options])[0] == f"lower {options}"


def test_what_was_asked_for_and_reached_stays(calibrated: Manifest) -> None:
    assert not any("min_" in remedy for remedy in advice(calibrated, min_snr=19, min_agreement=0.9))


def test_no_remedy_states_a_goal_that_can_be_missed(calibrated: Manifest) -> None:
    assert not any("min_" in remedy for remedy in advice(calibrated))


def test_all_layers_is_the_first_thing_to_leave_out(calibrated: Manifest) -> None:
    assert advice(calibrated, all_layers=True, min_snr=23)[0].startswith("leave out `all_layers`")


@pytest.mark.parametrize(("target", "is_advised"), [(ANY_CPU, True), ("vnni", False), ("avx2", False)])
def test_targets_of_8_bits_are_named_for_any_cpu(calibrated: Manifest, target: str, is_advised: bool) -> None:
    named = [remedy for remedy in advice(calibrated, target=target) if "`target`" in remedy]
    assert bool(named) == is_advised
    assert all("vnni, arm64 or cuda" in remedy for remedy in named)


def test_what_could_not_run_has_remedies_too(calibrated: Manifest) -> None:
    assert advice(calibrated, None, min_snr=23)[-1] == "leave out `quantize=['static']`"
