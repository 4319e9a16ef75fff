"""``Prediction``: what a classifier says of an image."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Prediction"]


@dataclass(frozen=True)
class Prediction:
    """One class of one image.

    Attributes:
        label: name of the class; its index as text where the bundle has no labels.
        index: position in the network's output.
        probability: 0 to 1.

    Examples:
        >>> from vgg_runtime import Prediction
        >>> prediction = Prediction("coat", 4, 0.9731)
        >>> f"{prediction.label}: {prediction.probability:.1%}"
        'coat: 97.3%'
    """

    label: str
    index: int
    probability: float
