from __future__ import annotations

import pytest

from vgg_runtime.imaging.folders import classes_from_folders

LABELS = ("T-shirt/top", "ankle boot", "bag")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["bag/1.png", "ankle boot/2.png"], [2, 1]),
        (["Ankle_Boot/1.png", "t-shirt-top/2.png", "BAG/3.png"], [1, 0, 2]),
        (["test/bag/1.png", "bag/bag/ankle-boot/2.png"], [2, 1]),
        ([], []),
        (["bag/1.png", "cat/1.png"], None),
        (["bag.png"], None),
    ],
)
def test_the_folder_tells_the_class(names: list[str], found: list[int] | None) -> None:
    assert classes_from_folders(names, LABELS) == found


def test_without_labels_nothing_is_known() -> None:
    assert classes_from_folders(["bag/1.png"], None) is None


def test_a_folder_that_fits_two_labels_is_named_after_none() -> None:
    """ImageNet has the bird and the machine."""
    labels = ("crane", "bag", "Crane")
    assert classes_from_folders(["bag/1.png"], labels) == [1]
    assert classes_from_folders(["crane/1.png"], labels) is None
