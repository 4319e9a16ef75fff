from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from vgg_runtime.errors import ImageError
from vgg_runtime.imaging.folders import choose_images


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
    chosen = Counter(file.parent.name for file in choose_images(folder, 12))
    assert chosen == {"rare": 2, "cats": 5, "dogs": 5}


def test_no_image_comes_twice(folder: Path) -> None:
    chosen = choose_images(folder, 1000)
    assert len(chosen) == len(set(chosen)) == 22


def test_a_choice_is_not_the_first_ones_by_name(folder: Path) -> None:
    firsts = {tuple(file.name for file in choose_images(folder, 3, seed=seed)) for seed in range(10)}
    assert len(firsts) > 1


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match="holds no image"):
        choose_images(tmp_path, 3)
