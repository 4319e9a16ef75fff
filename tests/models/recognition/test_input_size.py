from __future__ import annotations

import pytest

from vgg_models.recognition.input_size import read_input_size


def _pools(count: int):
    return lambda size: (size[0] >> count, size[1] >> count)


@pytest.mark.parametrize(
    ("pools", "side", "size"), [(5, 7, 224), (3, 3, 28), (3, 4, 32), (4, 2, 32), (5, 9, 299), (5, 8, 256), (5, 12, 384)]
)
def test_only_common_size_that_fits_is_assumed(pools: int, side: int, size: int) -> None:
    (candidate,) = read_input_size(_pools(pools), side * side, None)
    assert candidate.input_size == (size, size)
    assert f"{size}x{size}" in candidate.assumption


@pytest.mark.parametrize(("pools", "side"), [(6, 4), (4, 5)], ids=["256 or 299", "none"])
def test_otherwise_the_size_is_asked_for(pools: int, side: int) -> None:
    (candidate,) = read_input_size(_pools(pools), side * side, None)
    assert candidate.input_size is None
    assert "`input_size=N`" in candidate.question


def test_features_of_1x1_are_small_images_or_global_pooling() -> None:
    *small, pooled = read_input_size(_pools(5), 1, None)
    assert [candidate.input_size for candidate in small] == [(32, 32), (48, 48)]
    assert "cifar10" in small[0].chosen_by
    assert pooled.pooled_size == (1, 1)


def test_a_given_size_decides_between_them() -> None:
    (small,) = read_input_size(_pools(5), 1, (32, 32))
    assert (small.input_size, small.pooled_size) == ((32, 32), None)
    (large,) = read_input_size(_pools(5), 1, (224, 224))
    assert (large.input_size, large.pooled_size) == ((224, 224), (1, 1))
    assert "AdaptiveAvgPool2d" in large.assumption


def test_a_given_size_need_not_be_square() -> None:
    (candidate,) = read_input_size(_pools(2), 4 * 6, (16, 24))
    assert (candidate.input_size, candidate.pooled_size) == ((16, 24), None)


def test_a_size_that_is_too_small_leaves_no_candidate() -> None:
    assert read_input_size(_pools(5), 49, (16, 16)) == []
