from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from vgg_bench.images import classes_from_folders
from vgg_runtime.errors import ImageError
from vgg_runtime.imaging.folders import choose_images

LABELS = ("T-shirt/top", "ankle boot", "bag")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 2, 10 and 10 images, and a note."""
    for name, count in (("rare", 2), ("cats", 10), ("dogs", 10)):
        (tmp_path / name).mkdir()
        for i in range(count):
            (tmp_path / name / f"{i}.png").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_the_same_seed_chooses_the_same_images(folder: Path) -> None:
    assert choose_images(folder, 9, seed=3) == choose_images(folder, 9, seed=3)
    assert choose_images(folder, 9, seed=3) != choose_images(folder, 9, seed=4)


def test_classes_are_drawn_in_turns(folder: Path) -> None:
    images = Counter(file.parent.name for file in choose_images(folder, 12))
    assert images == {"rare": 2, "cats": 5, "dogs": 5}


def test_no_image_comes_twice(folder: Path) -> None:
    images = choose_images(folder, 1000)
    assert len(images) == len(set(images)) == 22


def test_a_choice_is_not_the_first_ones_by_name(folder: Path) -> None:
    firsts = {tuple(file.name for file in choose_images(folder, 3, seed=seed)) for seed in range(10)}
    assert len(firsts) > 1


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match="contains no images"):
        choose_images(tmp_path, 3)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["bag/1.png", "ankle boot/2.png"], [2, 1]),
        (["Ankle_Boot/1.png", "t-shirt-top/2.png", "BAG/3.png"], [1, 0, 2]),
        (["test/bag/1.png", "bag/bag/ankle-boot/2.png"], [2, 1]),
        ([], []),
        (["bag/1.png", "cat/1.png"], None),
        (["bag.png"], None),
    ],
)
def test_the_folder_tells_the_class(names: list[str], classes: list[int] | None) -> None:
    assert classes_from_folders(names, LABELS) == classes


def test_without_labels_nothing_is_known() -> None:
    assert classes_from_folders(["bag/1.png"], None) is None


def test_a_folder_that_fits_two_labels_is_named_after_none() -> None:
    """ImageNet has the bird and the machine."""
    labels = ("crane", "bag", "Crane")
    assert classes_from_folders(["bag/1.png"], labels) == [1]
    assert classes_from_folders(["crane/1.png"], labels) is None
