from __future__ import annotations

import pytest

from vgg_runtime.errors import PreprocessingError
from vgg_runtime.imaging.preprocessing import Preprocessing
from vgg_runtime.imaging.presets import PRESETS, preset


@pytest.mark.parametrize(("name", "channels"), [(name, 1 if name == "mnist" else 3) for name in PRESETS])
@pytest.mark.parametrize("size", [(224, 224), (30, 40)])
def test_every_preset_makes_the_size_and_the_channels_asked_for(
    name: str, channels: int, size: tuple[int, int]
) -> None:
    preprocessing = preset(name, size, channels)
    assert (preprocessing.output_size, preprocessing.channel_count) == (size, channels)


def test_imagenet_is_the_recipe_of_torchvisions_weights() -> None:
    assert preset("imagenet", (224, 224), 3) == Preprocessing(
        resize=256, crop=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )


@pytest.mark.parametrize("name", ["half", "plain"])
def test_presets_without_colours_of_their_own_serve_one_channel(name: str) -> None:
    assert preset(name, (28, 28), 1).channels == "L"


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("imagnet", 3, "unknown preprocessing preset 'imagnet'(?s:.*)imagenet, half"),
        ("imagenet", 1, "imagenet makes 3 channel"),
        ("mnist", 3, "mnist makes 1 channel"),
        ("plain", 4, "takes 4 channels"),
    ],
)
def test_a_preset_that_does_not_fit_is_refused(name: str, channels: int, message: str) -> None:
    with pytest.raises(PreprocessingError, match=message):
        preset(name, (32, 32), channels)
