from __future__ import annotations

import numpy as np
import pytest

from vgg_export.planning.preprocess_search.candidates import OWN, Candidate, candidates, own_statistics
from vgg_runtime.errors import PreprocessingError
from vgg_runtime.imaging.preprocessing import Preprocessing
from vgg_runtime.imaging.presets import PRESETS, preset

SIZE = (32, 48)
OWN_STATISTICS = Preprocessing("RGB", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))


def by_name(trials: list[Candidate]) -> dict[str, Candidate]:
    named = {name: candidate for candidate in trials for name in candidate.names}
    assert len(named) == sum(len(candidate.names) for candidate in trials)
    return named


@pytest.mark.parametrize(("channels", "names"), [(3, set(PRESETS) - {"mnist"}), (1, {"half", "mnist", "plain"})])
def test_every_preset_that_fits_is_tried_as_it_is(channels: int, names: set[str]) -> None:
    named = by_name(candidates(SIZE, channels, None, distorted=False))
    assert {name for name in PRESETS if name in named} == names
    for name in names:
        assert named[name].preprocessing == preset(name, SIZE, channels)


def test_every_candidate_makes_the_networks_input() -> None:
    for channels, own in ((3, OWN_STATISTICS), (1, Preprocessing("L", mean=(0.9,), std=(0.1,)))):
        for candidate in candidates(SIZE, channels, own, distorted=True):
            assert (candidate.preprocessing.output_size, candidate.preprocessing.channel_count) == (SIZE, channels)


def test_bgr_takes_each_channels_mean_and_std_along() -> None:
    named = by_name(candidates(SIZE, 3, None, distorted=False))
    swapped = named["imagenet BGR"].preprocessing
    assert (swapped.channels, swapped.mean, swapped.std) == ("BGR", (0.406, 0.456, 0.485), (0.225, 0.224, 0.229))


def test_caffes_scaling_is_0_to_255_in_bgr() -> None:
    named = by_name(candidates(SIZE, 3, None, distorted=False))
    means = (103.939, 116.779, 123.68)
    assert named["caffe"].preprocessing == Preprocessing("BGR", resize=SIZE, divide_by=1.0, mean=means)
    assert named["caffe RGB"].preprocessing == Preprocessing("RGB", resize=SIZE, divide_by=1.0, mean=means[::-1])
    assert named["0..255 BGR"].preprocessing == Preprocessing("BGR", resize=SIZE, divide_by=1.0)


def test_proportions_decide_what_is_cropped_and_squashed() -> None:
    def geometries(distorted: bool) -> dict[str, set[bool]]:
        named = by_name(candidates(SIZE, 3, None, distorted=distorted))
        return {
            row: {named[name].preprocessing.crop is not None for name in named if name.startswith(row)}
            for row in ("imagenet", "half", "caffe")
        }

    assert geometries(distorted=True) == {"imagenet": {True, False}, "half": {True, False}, "caffe": {True, False}}
    assert geometries(distorted=False) == {"imagenet": {True, False}, "half": {False}, "caffe": {False}}


def test_one_channel_is_tried_inverted_too() -> None:
    trials = candidates(SIZE, 1, None, distorted=False)
    assert {candidate.preprocessing for candidate in trials if candidate.inverted} == {
        candidate.preprocessing for candidate in trials if not candidate.inverted
    }


def test_own_statistics_are_numpys() -> None:
    pixels = np.random.default_rng(0).integers(0, [40, 150, 256], (5, 9, 7, 3)).astype(np.uint8)
    own = own_statistics(pixels)
    assert own is not None
    assert own.channels == "RGB"
    np.testing.assert_allclose(own.mean, pixels.mean(axis=(0, 1, 2)) / 255, atol=6e-5)
    np.testing.assert_allclose(own.std, pixels.std(axis=(0, 1, 2)) / 255, atol=6e-5)


def test_images_of_one_value_have_no_own_statistics() -> None:
    pixels = np.zeros((2, 4, 4, 3), np.uint8)
    pixels[0, 0, 0, :2] = 9
    assert own_statistics(pixels) is None


def test_own_statistics_far_from_known_ones_are_tried() -> None:
    named = by_name(candidates(SIZE, 3, OWN_STATISTICS, distorted=False))
    assert named[OWN].preprocessing == Preprocessing(resize=SIZE, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert named[OWN].names == (OWN,)


def test_own_statistics_near_known_ones_are_those() -> None:
    own = Preprocessing("L", mean=(0.1307 + 0.019,), std=(0.3081 - 0.019,))
    named = by_name(candidates((28, 28), 1, own, distorted=False))
    assert named[OWN] == named["mnist"]
    assert named["mnist"].preprocessing == preset("mnist", (28, 28), 1)


def test_a_network_of_four_channels_is_refused() -> None:
    with pytest.raises(PreprocessingError, match="takes 4 channels"):
        candidates(SIZE, 4, None, distorted=False)
