"""Scaling, normalization and layout as the first operations of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vgg_runtime.preprocessing import Preprocessing

__all__ = ["with_preprocessing"]


def with_preprocessing(module: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    """Return a module that takes uint8 (batch, height, width, channels) and gives the same, on a CPU to the bit.

    It does what :meth:`~vgg_runtime.preprocessing.Preprocessing.normalize` does, one rounding to float32 per step.
    """
    import torch

    class WithPreprocessing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            # Copied: one channel counts as contiguous whatever its strides, by which convolutions choose their kernels.
            planes = pixels.permute(0, 3, 1, 2).float().clone(memory_format=torch.contiguous_format)
            # By a tensor of one element: on CUDA, PyTorch takes a number's reciprocal and multiplies.
            planes = planes / torch.tensor([preprocessing.divide_by])
            if preprocessing.mean is not None:
                planes = planes - torch.tensor(preprocessing.mean).view(-1, 1, 1)
            if preprocessing.std is not None:
                planes = planes / torch.tensor(preprocessing.std).view(-1, 1, 1)
            outputs: torch.Tensor = self.network(planes)
            return outputs

    return WithPreprocessing().eval()
