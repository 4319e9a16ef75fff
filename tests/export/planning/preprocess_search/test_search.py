"""The search on networks whose preprocessing is known, and which images it searches with."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lesson_images import DIGITS, Pixels, digits, write_images
from lesson_training import trained
from PIL import Image
from torch import Tensor, nn

from vgg_export import CalibrationOptions, SampleOptions, export
from vgg_export.planning.dry_run import plan_as_json, plan_as_lines
from vgg_export.planning.image_split import ImageSelection
from vgg_export.planning.options import Options
from vgg_export.planning.plan import Plan, make_plan
from vgg_export.planning.preprocess_search.ranking import PreprocessingSearch
from vgg_export.planning.preprocess_search.search import ENOUGH_TO_HALVE, search_preprocessing, split_labelled
from vgg_export.progress import ignore_steps
from vgg_models import LoadedModel
from vgg_runtime.bundle.directory import REPORT
from vgg_runtime.errors import ArchitectureError, PreprocessingError, UsageError
from vgg_runtime.imaging.presets import preset

COLOURS = ("dark-red", "dark-green", "dark-blue", "red", "green", "blue")
SIDE = 16


class DigitNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        convolutions += [nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16 * 49, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.fixture(scope="module")
def digit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 digits that nothing trains on, forty of each class, and labels.json."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "labels.json").write_text(json.dumps(DIGITS))
    write_images(folder / "images", digits("digits L")[::25] + digits("digits L")[5::25])
    return folder


@pytest.fixture(scope="module")
def half_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained on digits as the preset half makes them."""
    half = Pixels("half", lambda t: [t.ToTensor(), t.Normalize((0.5,), (0.5,))], "L")
    network = trained(DigitNet, half, "digits L", images=2000, epochs=3)
    path = tmp_path_factory.mktemp("half") / "half.pth"
    torch.save(network.layers, path)
    return path


@pytest.fixture
def colour_checkpoint(tmp_path: Path) -> Path:
    """A network that tells six colours from planes in the order BGR with values of 0..255.

    From the mean of each plane: v for its dark colour and 2 v - 100 for its bright one, which is more above 100.
    """
    linear = nn.Linear(3, 6)
    blue_green_red = torch.eye(3).flip(0)
    linear.weight.data = torch.cat([blue_green_red, 2 * blue_green_red])
    linear.bias.data = torch.tensor([0.0] * 3 + [-100.0] * 3)
    torch.save(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear), tmp_path / "colours.pth")
    return tmp_path / "colours.pth"


def colour_folder(folder: Path, *, images: int, size: tuple[int, int] = (SIDE, SIDE), lit: slice = np.s_[:]) -> Path:
    """Noisy images of six colours in class folders; ``lit`` are the columns that the colour fills."""
    random = np.random.default_rng(0)
    for number in range(images):
        shade = number % 6
        pixels = random.integers(0, 15, (*size, 3))
        bright = random.integers(120, 220) if shade >= 3 else random.integers(30, 90)
        pixels[:, lit, shade % 3] = bright + random.integers(-10, 10, pixels[:, lit, 0].shape)
        file = folder / "images" / COLOURS[shade] / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    (folder / "labels.json").write_text(json.dumps(COLOURS))
    return folder


def options(folder: Path, **others: object) -> Options:
    samples = SampleOptions(folder / "images")
    return Options(preprocess="find", samples=samples, labels=str(folder / "labels.json"), **others)


@pytest.fixture(scope="module")
def half_plan(half_checkpoint: Path, digit_folder: Path) -> Plan:
    return make_plan(half_checkpoint, options(digit_folder))


def test_half_is_found_for_digits_that_were_trained_so(half_plan: Plan) -> None:
    assert half_plan.preprocessing == preset("half", (28, 28), 1)
    assert half_plan.search is not None
    assert half_plan.search.best.names == ("half",)
    assert "preprocessing found: half (" in half_plan.assumptions[-2]


def test_half_of_400_samples_are_kept_for_the_judgement(half_plan: Plan) -> None:
    assert half_plan.search is not None
    assert half_plan.images.samples is not None
    assert half_plan.search.images == 200
    assert Counter(file.parent.name for file in half_plan.images.samples.files) == dict.fromkeys(DIGITS, 20)
    assert "the 200 samples that the variants are verified on" in half_plan.assumptions[-1]


def test_a_dry_run_shows_what_was_tried(half_plan: Plan) -> None:
    assert half_plan.search is not None
    lines = plan_as_lines(half_plan)
    record = plan_as_json(half_plan)["preprocessing_search"]
    assert len(record["trials"]) == len(half_plan.search.trials) > 5
    for trial in half_plan.search.trials:
        (line,) = (line for line in lines if line.startswith(f"{trial.name}  "))
        assert f" {trial.accuracy.value:.1%} " in line
    assert [trial["outcome"] for trial in record["trials"]].count("best") == 1
    assert record["trials"][0]["preprocessing"]["mean"] == [0.5]


def test_bgr_of_0_to_255_is_found_and_exported(colour_checkpoint: Path, tmp_path: Path, untimed: None) -> None:
    folder = colour_folder(tmp_path, images=120)
    steps: list[tuple[str, int, int]] = []
    bundle = export(
        colour_checkpoint,
        tmp_path / "colours.bundle",
        preprocess="find",
        samples=folder / "images",
        labels=folder / "labels.json",
        input_size=SIDE,
        formats=["onnx"],
        on_step=lambda text, done=0, total=0: steps.append((text, done, total)),
    )
    preprocessing = bundle.manifest.preprocessing
    assert (preprocessing.channels, preprocessing.divide_by, preprocessing.mean) == ("BGR", 1, None)
    assert preprocessing.resize == (SIDE, SIDE)
    text = bundle.path(REPORT).read_text()
    assert "## Preprocessing candidates\n" in text
    assert "| 0..255 BGR | 100.0% | 96.9 to 100.0 |  | best |" in text
    assert text.count("| worse |") == 15  # of the sixteen candidates for square colour images
    assert "- preprocessing found: 0..255 BGR (" in text
    assert [done for text, done, total in steps if text.startswith("trying ") and total == 16] == list(range(1, 17))


def test_a_crop_is_told_from_squashing(colour_checkpoint: Path, tmp_path: Path) -> None:
    """Wide images whose colour is in the middle half: squashed, bright ones look dark; cropped, they do not."""
    folder = colour_folder(tmp_path, images=120, size=(SIDE, 2 * SIDE), lit=np.s_[SIDE // 2 : -SIDE // 2])
    plan = make_plan(colour_checkpoint, options(folder, input_size=(SIDE, SIDE)))
    assert plan.preprocessing.crop == (SIDE, SIDE)
    assert plan.search is not None
    assert plan.search.best.names == ("0..255 cropped BGR",)


def test_grey_images_leave_rgb_and_bgr_one(tmp_path: Path, colour_checkpoint: Path) -> None:
    folder = colour_folder(tmp_path, images=24)
    for file in (folder / "images").rglob("*.png"):
        Image.open(file).convert("L").save(file)
    with pytest.raises(PreprocessingError) as refused:
        make_plan(colour_checkpoint, options(folder, input_size=(SIDE, SIDE)))
    assert "half = half BGR " in refused.value.message  # the same for every channel
    assert "cifar10 = " not in refused.value.message


def test_a_network_at_chance_is_refused_with_the_table(tmp_path: Path, digit_folder: Path) -> None:
    torch.manual_seed(1)
    torch.save(DigitNet().layers.eval(), tmp_path / "untrained.pth")
    with pytest.raises(PreprocessingError, match="no better than chance") as refused:
        make_plan(tmp_path / "untrained.pth", options(digit_folder))
    for name in ("half", "mnist", "plain", "0..255", "plain inverted"):
        assert f"\n  {name} " in refused.value.message


def test_white_on_black_for_black_on_white_is_told(half_checkpoint: Path, digit_folder: Path, tmp_path: Path) -> None:
    for file in (digit_folder / "images").rglob("*.png"):
        target = tmp_path / "images" / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).point(lambda value: 255 - value).save(target)
    (tmp_path / "labels.json").write_text(json.dumps(DIGITS))
    with pytest.raises(PreprocessingError, match=r"best on inverted images(.|\n)*\n  half inverted "):
        make_plan(half_checkpoint, options(tmp_path))


class OnlySevens(nn.Sequential):
    """Fails on another number of images, as a network with a baked-in batch size does."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.view(7, 3, SIDE, SIDE))


def test_a_fixed_batch_is_filled_up_and_changes_nothing(colour_checkpoint: Path, tmp_path: Path) -> None:
    folder = colour_folder(tmp_path, images=60)
    samples = SampleOptions(folder / "images")
    options = Options(samples=samples, labels=str(folder / "labels.json"), input_size=(SIDE, SIDE))
    plan = make_plan(colour_checkpoint, options)
    images = split_labelled(plan.images.samples, plan.labels, macs=1)
    fixed = replace(plan.loaded, module=OnlySevens(*plan.loaded.module).eval())

    def search(loaded: LoadedModel, batch: int | None) -> PreprocessingSearch:
        return search_preprocessing(loaded, images, batch=batch, on_step=ignore_steps)

    assert search(fixed, 7) == search(plan.loaded, None)
    with pytest.raises(ArchitectureError, match=r"fails on a batch of 32 (.|\n)*give `batch=N`"):
        search(fixed, None)


def files(*counts: int) -> tuple[Path, ...]:
    """Names of images in class folders of so many images, in turns as they are chosen."""
    return tuple(
        Path("d", COLOURS[label], f"{number}.png")
        for number in range(max(counts))
        for label, count in enumerate(counts)
        if number < count
    )


def test_halves_hold_every_class_alike() -> None:
    selection = ImageSelection(Path("d"), files(150, 40, 10))
    images = split_labelled(selection, COLOURS, macs=1)
    assert Counter(images.truth) == {0: 75, 1: 20, 2: 5}
    assert Counter(file.parent.name for file in images.rest.files) == {"dark-red": 75, "dark-green": 20, "dark-blue": 5}
    assert images.held_out


def test_of_few_samples_all_are_searched_with() -> None:
    selection = ImageSelection(Path("d"), files(*[33] * 6))
    assert len(selection.files) == ENOUGH_TO_HALVE - 2
    images = split_labelled(selection, COLOURS, macs=1)
    assert (images.search, images.rest, images.held_out) == (selection.files, selection, False)


def test_a_costly_network_is_searched_with_fewer() -> None:
    images = split_labelled(ImageSelection(Path("d"), files(*[50] * 6)), COLOURS, macs=10**12)
    assert (len(images.search), len(images.rest.files)) == (64, 236)
    assert set(Counter(images.truth).values()) == {10, 11}


@pytest.mark.parametrize("missing", ["samples", "labels"])
def test_a_search_without_labelled_samples_is_refused(half_checkpoint: Path, digit_folder: Path, missing: str) -> None:
    options = {"samples": SampleOptions(digit_folder / "images"), "labels": str(digit_folder / "labels.json")}
    del options[missing]
    with pytest.raises(UsageError, match=f"`{missing}` is missing"):
        make_plan(half_checkpoint, Options(preprocess="find", **options))


def test_calibration_images_do_not_stand_in_for_samples(half_checkpoint: Path, digit_folder: Path) -> None:
    labels, calibration = str(digit_folder / "labels.json"), CalibrationOptions(digit_folder / "images")
    with pytest.raises(UsageError, match="`samples` is missing"):
        make_plan(half_checkpoint, Options(preprocess="find", calibration=calibration, labels=labels))


def test_folders_that_are_named_after_no_label_are_named() -> None:
    selection = ImageSelection(Path("d"), (Path("d/red/1.png"), Path("d/pink/1.png"), Path("d/loose.png")))
    with pytest.raises(UsageError, match=r"not named after a label: \(no folder\), pink\.") as refused:
        split_labelled(selection, COLOURS, macs=1)
    assert "dark-red, dark-green" in refused.value.hint
