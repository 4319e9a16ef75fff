from __future__ import annotations

import pytest

from vgg_export.variants.registry import LOW_RANK_VARIANTS
from vgg_export.verification import gate
from vgg_runtime.bundle.manifest import Accuracy


@pytest.mark.parametrize(("right", "shortfall"), [(894, None), (893, "0.6 points are lost, and 0.5 allowed")])
def test_loss_of_just_what_is_allowed_passes(right: int, shortfall: str | None) -> None:
    """Five of a thousand are half a point, though 0.899 - 0.894 is a little more than 0.005."""
    accuracy = Accuracy(images=1000, eager=0.899, variant=right / 1000, low=-0.01, high=0.002, p_value=0.2)
    message = gate._lost_accuracy(LOW_RANK_VARIANTS[0], accuracy, 0.5)
    assert message is None if shortfall is None else shortfall in str(message)
