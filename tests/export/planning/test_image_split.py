from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgg_bench.images import MAX_SAMPLES, MIN_SAMPLES, evaluation_sample_count
from vgg_calibration.statistics.images import CALIBRATION_SIZE
from vgg_export import CalibrationOptions, SampleOptions
from vgg_export.planning.image_split import ImageSplit, split_images
from vgg_runtime.errors import CalibrationError, ImageError, UsageError

MakeFolder = Callable[..., Path]
MANY_MACS = 10**15


@pytest.fixture
def folder_of(tmp_path: Path) -> MakeFolder:
    """Make a folder of images that differ, numbered from ``first`` on, in two classes."""

    def make(name: str, count: int, first: int = 0) -> Path:
        folder = tmp_path / name
        for i in range(first, first + count):
            (folder / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.array([[i // 256, i % 256]], np.uint8)).save(folder / f"class{i % 2}" / f"{i:04d}.pgm")
        return folder

    return make


def split(samples: Path | None, calibration: Path | None, size: int | None = None, seed: int = 0) -> ImageSplit:
    return split_images(SampleOptions(samples), CalibrationOptions(calibration, size), macs=MANY_MACS, seed=seed)


def contents(selection) -> set[bytes]:
    return {file.read_bytes() for file in selection.files}


def test_without_folders_there_are_no_images() -> None:
    assert split(None, None) == ImageSplit(None, None)


def test_samples_alone_are_all_for_the_judgement(folder_of: MakeFolder) -> None:
    images = split(folder_of("samples", 10), None)
    assert images.calibration is None
    assert len(images.samples.files) == 10


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (4, 1), (20, 5), (90, 22)])
def test_a_quarter_of_a_lone_folder_is_held_out(folder_of: MakeFolder, count: int, held_out: int) -> None:
    images = split(None, folder_of("photos", count))
    assert len(images.samples.files) == held_out
    assert len(images.calibration.files) == count - held_out
    assert not contents(images.samples) & contents(images.calibration)


def test_no_more_are_taken_than_wanted(folder_of: MakeFolder) -> None:
    images = split(None, folder_of("photos", 400))
    assert len(images.samples.files) == 44  # a quarter of the 176 that were drawn
    assert len(images.calibration.files) == CALIBRATION_SIZE
    assert len(split(None, folder_of("photos", 400), size=7).calibration.files) == 7


@pytest.mark.parametrize("samples", ["photos", "../{name}/photos", "photos/"])
def test_the_same_folder_given_twice_is_one(
    folder_of: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: str
) -> None:
    folder = folder_of("photos", 20)
    monkeypatch.chdir(tmp_path)
    assert split(Path(samples.format(name=tmp_path.name)), folder) == split(None, folder)


def test_copies_of_samples_are_not_calibrated_on(folder_of: MakeFolder) -> None:
    samples, calibration = folder_of("samples", 10, first=20), folder_of("photos", 30)
    images = split(samples, calibration)
    assert len(images.samples.files) == 10
    assert len(images.calibration.files) == 20
    assert not contents(images.samples) & contents(images.calibration)


def test_copies_inside_one_folder_are_not_split(folder_of: MakeFolder) -> None:
    folder = folder_of("photos", 20)
    for file in list(folder.rglob("*.pgm")):
        file.with_name(f"copy of {file.name}").write_bytes(file.read_bytes())
    for seed in range(5):
        images = split(None, folder, seed=seed)
        assert len(images.samples.files) == 10
        assert not contents(images.samples) & contents(images.calibration)


def test_samples_in_a_folder_below_are_not_calibrated_on(folder_of: MakeFolder) -> None:
    folder = folder_of("photos", 30)
    images = split(folder / "class1", folder)
    assert {file.parent.name for file in images.calibration.files} == {"class0"}


def test_images_that_are_samples_too_are_left_out(folder_of: MakeFolder) -> None:
    samples, calibration = folder_of("samples", MIN_SAMPLES), folder_of("photos", 2 * MIN_SAMPLES)
    for file in list(calibration.rglob("*.pgm"))[:40]:
        file.with_name(f"copy of {file.name}").write_bytes(file.read_bytes())
    images = split(samples, calibration, size=MIN_SAMPLES)
    assert len(images.calibration.files) == MIN_SAMPLES


def test_the_seed_decides(folder_of: MakeFolder) -> None:
    folder = folder_of("photos", 40)
    assert split(None, folder, seed=3) == split(None, folder, seed=3)
    assert split(None, folder, seed=3) != split(None, folder, seed=4)


def test_both_parts_are_balanced(folder_of: MakeFolder) -> None:
    images = split(None, folder_of("photos", 80))
    for selection in (images.samples, images.calibration):
        assert abs(sum(1 if file.parent.name == "class0" else -1 for file in selection.files)) <= 1


@pytest.mark.parametrize(("count", "size", "rest"), [(1, 2, 1), (8, 7, 6), (20, 100, 15)])
def test_fewer_than_asked_for_are_refused(folder_of: MakeFolder, count: int, size: int, rest: int) -> None:
    with pytest.raises(CalibrationError, match=f"has {rest} images? for calibration .* {size} are needed") as refused:
        split(None, folder_of("photos", count), size=size)
    assert "`calibration.size`" in refused.value.hint


def test_a_folder_of_samples_only_is_refused(folder_of: MakeFolder) -> None:
    with pytest.raises(CalibrationError, match=r"has 0 images for calibration .* 1 are needed"):
        split(folder_of("samples", 5), folder_of("photos", 5))


def test_one_image_is_calibrated_on_and_nothing_is_judged_by_it(folder_of: MakeFolder) -> None:
    images = split(None, folder_of("photos", 1))
    assert images.samples is None
    assert len(images.calibration.files) == 1


def test_an_empty_folder_is_refused(tmp_path: Path, folder_of: MakeFolder) -> None:
    for samples, calibration in ((None, tmp_path), (tmp_path, folder_of("photos", 3) / "class1")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(ImageError, match="contains no images"):
            split(samples and tmp_path / "empty", calibration if samples else tmp_path / "empty")


def test_what_is_left_stands_by_for_unreadable_ones(folder_of: MakeFolder) -> None:
    folder = folder_of("photos", 60)
    images = split(None, folder, size=18)
    assert (len(images.calibration.files), len(images.calibration.fallback)) == (18, 2)
    every = [*images.samples.files, *images.calibration.files, *images.calibration.fallback]
    assert len(set(every)) == len(every)


def test_an_unreadable_image_is_none_to_judge_by(folder_of: MakeFolder) -> None:
    folder = folder_of("photos", 40)
    broken = folder / "class0" / "0002.pgm"
    broken.write_bytes(b"P5 cut off")
    for seed in range(10):
        assert broken not in split(None, folder, seed=seed).samples.files


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="there is no folder"):
        split(None, tmp_path / "none")


def test_samples_that_are_not_there_are_left_to_who_reads_them(folder_of: MakeFolder, tmp_path: Path) -> None:
    assert split(tmp_path / "none.png", folder_of("photos", 3)).samples.files == (tmp_path / "none.png",)


@pytest.mark.parametrize(
    ("macs", "held_out"), [(0, MAX_SAMPLES), (10**6, MAX_SAMPLES), (5 * 10**9, 200), (10**11, MIN_SAMPLES)]
)
def test_of_a_cheap_network_more_is_held_out(macs: int, held_out: int) -> None:
    assert evaluation_sample_count(macs) == held_out


def test_all_samples_count_whatever_the_network_costs(folder_of: MakeFolder) -> None:
    samples, calibration = folder_of("samples", MIN_SAMPLES + 5), folder_of("photos", 3, first=500)
    assert len(split(samples, None).samples.files) == MIN_SAMPLES + 5
    assert len(split(samples, calibration).samples.files) == MIN_SAMPLES + 5


def test_a_samples_size_is_kept_or_refused(folder_of: MakeFolder) -> None:
    def sized(samples: Path | None, calibration: Path | None, size: int) -> int:
        images = split_images(SampleOptions(samples, size), CalibrationOptions(calibration), macs=0, seed=0)
        return len(images.samples.files)

    samples, calibration = folder_of("samples", 10), folder_of("photos", 40, first=500)
    assert sized(samples, None, 4) == sized(samples, calibration, 4) == sized(None, calibration, 4) == 4
    with pytest.raises(UsageError, match=r"has 10 images; `samples\.size` asks for 11"):
        sized(samples, None, 11)
