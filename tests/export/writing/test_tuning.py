"""Tuning as a step of the export, on the trained example: recorded, interrupted, and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vgg_calibration.statistics.images import CalibrationImages
from vgg_export import CalibrationOptions, CompressionOptions, SampleOptions, export
from vgg_export.planning.options import Options
from vgg_export.planning.plan import Plan, make_plan
from vgg_export.progress import ignore_notes, ignore_steps
from vgg_export.writing import tuning
from vgg_export.writing.calibration import read_images
from vgg_export.writing.compression import Inputs
from vgg_models import LowRankNetwork, distill
from vgg_runtime.bundle.manifest import Compression, CompressionPoint, Tuning

STEPS = 6
RANKS = {"features.0": 8}

Tune = Callable[..., tuple[nn.Module, Tuning]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of one test, into which every state is written."""
    monkeypatch.setenv("VGG_DEPLOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "SECONDS_BETWEEN_WRITES", 0.0)
    monkeypatch.setattr(tuning, "SHARE_OF_TIME", float("inf"))
    monkeypatch.setattr(tuning, "distill", partial(distill, max_steps=STEPS))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def options(example: Any, calibration_photos: Path) -> Options:
    return Options(
        preprocess=str(example.options["preprocess"]),
        samples=SampleOptions(example.images),
        calibration=CalibrationOptions(calibration_photos),
        compress=CompressionOptions(9.0, tune=10.0),
    )


@pytest.fixture(scope="module")
def plan(example: Any, options: Options) -> Plan:
    return make_plan(example.checkpoint, options)


@pytest.fixture(scope="module")
def images(plan: Plan) -> tuple[CalibrationImages, CalibrationImages]:
    return read_images(plan, ignore_steps, ignore_notes).split(225)


@pytest.fixture(scope="module")
def network(plan: Plan, images: tuple[CalibrationImages, CalibrationImages]) -> nn.Module:
    batch = torch.stack([Inputs(images[0])[number] for number in range(40)])
    low_rank = LowRankNetwork(plan.loaded.module, [batch])
    return low_rank.build(low_rank.ranks(speedup=9), refit=False)


@pytest.fixture
def tune(plan: Plan, network: nn.Module, images: tuple[CalibrationImages, CalibrationImages]) -> Tune:
    def run(**options: Any) -> tuple[nn.Module, Tuning]:
        defaults = {"sha256": "abc", "on_step": ignore_steps, "on_note": ignore_notes}
        return tuning.tune(network, plan, RANKS, *images, **defaults | options)

    return run


def interrupt_at(step: int) -> Callable[..., None]:
    """Do what Ctrl-C does as the ``step``-th step of training is told of."""
    steps = 0

    def on_step(text: str, done: int = 0, total: int = 0) -> None:
        nonlocal steps
        steps += text.startswith("tuning")
        if steps == step:
            raise KeyboardInterrupt

    return on_step


def states(cache: Path) -> list[Path]:
    return sorted((cache / "tuning").iterdir())


def test_interrupted_tuning_goes_on_where_it_was(
    tune: Tune, cache: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, record = tune()
    tuning.discard_tuning_state(plan, compression(record))
    with pytest.raises(KeyboardInterrupt):
        tune(on_step=interrupt_at(4))
    steps_before: list[int] = []

    def spy(*arguments: Any, state: dict[str, Any], **options: Any) -> Any:
        steps_before.append(state["steps"])
        return distill(*arguments, state=state, max_steps=STEPS, **options)

    monkeypatch.setattr(tuning, "distill", spy)
    resumed, resumed_record = tune()
    assert steps_before == [3]
    assert resumed_record == record
    for name, tensor in resumed.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name])


def compression(record: Tuning) -> Compression:
    point = CompressionPoint(RANKS, 1, 1, record.agreement_after)
    return Compression(point, (point,), (), (), "abc", tuning=record)


def test_state_is_kept_until_it_is_discarded(tune: Tune, cache: Path, plan: Plan) -> None:
    _, record = tune()
    assert len(states(cache)) == 1
    tuning.discard_tuning_state(plan, compression(record))
    assert not states(cache)


def test_state_of_other_images_is_not_taken_up(tune: Tune, cache: Path) -> None:
    for digest in ("abc", "def"):
        with pytest.raises(KeyboardInterrupt):
            tune(sha256=digest, on_step=interrupt_at(2))
    assert [torch.load(state, weights_only=True)["steps"] for state in states(cache)] == [1, 1]


def test_damaged_state_starts_anew(tune: Tune, cache: Path) -> None:
    _, record = tune()
    (state,) = states(cache)
    state.write_bytes(state.read_bytes()[:1000])
    assert tune()[1] == record


def test_state_that_cannot_be_kept_is_noted_once(tune: Tune, cache: Path) -> None:
    cache.write_text("a file where the folder would be")
    notes: list[str] = []
    assert tune(on_note=notes.append)[1].steps == STEPS
    (note,) = notes
    assert "start anew if it is interrupted" in note


def test_states_are_written_at_intervals(tune: Tune, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "SECONDS_BETWEEN_WRITES", 1000.0)
    tune()
    (state,) = states(cache)
    assert torch.load(state, weights_only=True)["steps"] == 1


@pytest.mark.usefixtures("untimed")
def test_tuning_is_in_the_bundle_and_leaves_no_state(
    example: Any, options: Options, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "distill", partial(distill, max_steps=25, learning_rate=2e-3))
    bundle = export(
        example.checkpoint,
        tmp_path / "b",
        formats=["onnx"],
        preprocess=options.preprocess,
        samples=options.samples,
        calibration=options.calibration,
        compress=options.compress,
        verify=False,
    )
    compression = bundle.manifest.compression
    assert compression is not None
    record = compression.tuning
    assert record is not None
    assert (record.minutes, record.steps, record.images, record.device) == (10.0, 25, 225, "cpu")
    assert record.loss_after < record.loss_before
    assert record.agreement_after == compression.chosen.agreement == compression.curve[-1].agreement
    report = (bundle.directory / "report.md").read_text()
    assert "tuned to answer as the original: 25 steps on 225 images, in at most 10 minutes on cpu" in report
    assert f"from {record.agreement_before:.1%} to {record.agreement_after:.1%}" in report
    assert not states(cache)
