from __future__ import annotations

import pytest

from vgg_export.planning.stated_preprocessing import apply_statements
from vgg_models.metadata import CheckpointMetadata, Normalization, Statement
from vgg_runtime.imaging.preprocessing import Preprocessing
from vgg_runtime.imaging.presets import preset

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)
NORMALIZATION = Statement(Normalization(MEAN, STD, 255.0), "'mean' in the checkpoint")


def test_normalization_alone_keeps_the_usual_geometry() -> None:
    usual = preset("imagenet", (96, 96), 3)
    result, remarks, unsaid = apply_statements(usual, CheckpointMetadata(normalization=NORMALIZATION), (96, 96))
    assert result == Preprocessing(resize=109, crop=(96, 96), mean=MEAN, std=STD)
    assert remarks == ("normalization: taken from 'mean' in the checkpoint",)
    assert unsaid == ("resize and crop", "interpolation")


@pytest.mark.parametrize(("side", "share", "resize"), [(224, 0.875, 256), (224, 0.95, 235), (288, 1.0, 288)])
def test_crop_and_interpolation_are_timm_s(side: int, share: float, resize: int) -> None:
    """The sizes are those that timm 1.0 gives to its Resize for these values of crop_pct."""
    metadata = CheckpointMetadata(
        normalization=NORMALIZATION,
        crop_share=Statement(share, "'crop_pct'"),
        interpolation=Statement("bicubic", "'interpolation'"),
    )
    result, remarks, unsaid = apply_statements(preset("imagenet", (side, side), 3), metadata, (side, side))
    assert result == Preprocessing(resize=resize, crop=(side, side), interpolation="bicubic", mean=MEAN, std=STD)
    assert len(remarks) == 3
    assert unsaid == ()


def test_pixels_from_0_to_255_are_not_divided() -> None:
    statement = Statement(Normalization((120.0,), (60.0,), 1.0), "'mean'")
    result, _, _ = apply_statements(preset("plain", (8, 8), 1), CheckpointMetadata(normalization=statement), (8, 8))
    assert (result.channels, result.divide_by, result.mean, result.resize) == ("L", 1.0, (120.0,), (8, 8))


@pytest.mark.parametrize(
    ("metadata", "size", "said"),
    [
        (CheckpointMetadata(normalization=NORMALIZATION), (8, 8), "mean has 3 values, L has 1 channel"),
        (CheckpointMetadata(crop_share=Statement(0.9, "'crop_pct'")), (8, 12), "the network takes 8x12"),
    ],
)
def test_what_does_not_fit_the_network_is_told(metadata: CheckpointMetadata, size: tuple[int, int], said: str) -> None:
    usual = preset("plain", size, 1)
    result, remarks, unsaid = apply_statements(usual, metadata, size)
    assert result == usual
    assert "is not taken" in remarks[0]
    assert said in remarks[0]
    assert len(unsaid) == 3
