from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vgg_calibration.statistics.images import CalibrationImages, read_calibration_images
from vgg_runtime.errors import CalibrationError
from vgg_runtime.imaging.folders import find_images
from vgg_runtime.imaging.preprocessing import Preprocessing

SIZE = (6, 8)
PREPROCESSING = Preprocessing(resize=SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))

MakeFolder = Callable[..., Path]


@pytest.fixture
def folder_of(tmp_path: Path) -> MakeFolder:
    """Make a folder of ``good`` seeded images and ``bad`` files that are none."""

    def make(good: int, bad: int = 0) -> Path:
        folder = tmp_path / "photos"
        (folder / "cats").mkdir(parents=True)
        random = np.random.default_rng(0)
        for i in range(good):
            Image.fromarray(random.integers(0, 256, (9, 11, 3), np.uint8)).save(folder / "cats" / f"{i:02d}.png")
        for i in range(bad):
            (folder / f"bad{i}.jpg").write_bytes(b"\xff\xd8 cut off")
        return folder

    return make


def read(folder: Path, preprocessing: Preprocessing = PREPROCESSING) -> CalibrationImages:
    return read_calibration_images(find_images([folder]), folder, preprocessing, SIZE)


def test_batches_are_what_the_runtime_makes_of_the_files(folder_of: MakeFolder) -> None:
    folder = folder_of(3)
    images = read(folder)
    assert images.names == ("cats/00.png", "cats/01.png", "cats/02.png")
    expected = [PREPROCESSING(Image.open(folder / name)) for name in images.names]
    for batch, image in zip(images.batches(), expected, strict=True):
        assert batch.dtype == np.float32
        np.testing.assert_array_equal(batch, image[np.newaxis])


def test_a_fixed_batch_is_filled_up_from_the_first_images(folder_of: MakeFolder) -> None:
    images = read(folder_of(3))
    singles = np.concatenate(list(images.batches()))
    batches = list(images.batches(2))
    np.testing.assert_array_equal(np.concatenate(batches), singles[[0, 1, 2, 0]])
    np.testing.assert_array_equal(next(images.batches(7)), singles[[0, 1, 2, 0, 1, 2, 0]])


def test_the_split_parts_share_nothing_and_leave_nothing_out(folder_of: MakeFolder) -> None:
    images = read(folder_of(5))
    first, rest = images.split(3)
    assert first.names + rest.names == images.names
    assert first.digests + rest.digests == images.digests
    assert (len(first), len(first.pixels), len(rest), len(rest.pixels)) == (3, 3, 2, 2)
    assert first.sha256 != images.sha256


def test_a_few_unreadable_images_are_named_and_left_out(folder_of: MakeFolder) -> None:
    images = read(folder_of(9, bad=1))
    assert len(images) == 9
    (skipped,) = images.skipped
    assert skipped.startswith("bad0.jpg (")


def test_no_more_are_read_than_are_enough(folder_of: MakeFolder) -> None:
    folder = folder_of(12, bad=1)
    images = read_calibration_images(find_images([folder]), folder, PREPROCESSING, SIZE, count=10)
    assert images.names == tuple(f"cats/{i:02d}.png" for i in range(10))
    assert len(images.skipped) == 1


@pytest.mark.parametrize(("good", "bad"), [(8, 1), (0, 1), (5, 7)])
def test_more_than_a_tenth_unreadable_is_refused_by_name(folder_of: MakeFolder, good: int, bad: int) -> None:
    with pytest.raises(CalibrationError, match=rf"{bad} of {good + bad} .* more than 10%: bad0\.jpg") as refused:
        read(folder_of(good, bad))
    assert ("..." in refused.value.message) == (bad > 5)


def test_the_hash_follows_content_and_names_and_nothing_else(folder_of: MakeFolder, tmp_path: Path) -> None:
    folder = folder_of(3)
    before = read(folder).sha256
    os.utime(folder / "cats" / "00.png", (0, 0))
    folder = folder.rename(tmp_path / "elsewhere")
    assert read(folder).sha256 == before
    content = (folder / "cats" / "00.png").read_bytes()
    (folder / "cats" / "00.png").write_bytes(content + b"\0")  # the same pixels
    changed = read(folder).sha256
    (folder / "cats" / "00.png").write_bytes(content)
    (folder / "cats" / "00.png").rename(folder / "cats" / "000.png")
    renamed = read(folder).sha256
    assert len({before, changed, renamed}) == 3


def test_an_image_of_another_size_is_refused_by_name(folder_of: MakeFolder) -> None:
    with pytest.raises(CalibrationError, match=r"cats/00\.png has 7 x 6 pixels .* the network takes 8 x 6"):
        read(folder_of(1), Preprocessing(resize=6))


def test_a_name_that_is_no_text_becomes_one_that_json_can_hold(folder_of: MakeFolder) -> None:
    folder = folder_of(1)
    try:
        (folder / "cats" / "00.png").rename(folder / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("the file system takes only names in UTF-8")
    assert read(folder).names == ("caf\ufffd.png",)
    assert len(read(folder).sha256) == 64


def test_a_single_file_may_stand_for_a_folder(folder_of: MakeFolder) -> None:
    file = folder_of(1) / "cats" / "00.png"
    assert read(file).names == ("00.png",)


def test_progress_counts_the_files(folder_of: MakeFolder) -> None:
    folder = folder_of(3)
    done: list[int] = []
    read_calibration_images(find_images([folder]), folder, PREPROCESSING, SIZE, on_image=done.append)
    assert done == [1, 2, 3]
