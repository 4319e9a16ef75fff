"""Rounding of weights so that the errors of a row cancel on real inputs, instead of to the nearest levels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from vgg_calibration.onnx_io import read_tensor
from vgg_calibration.statistics.sensitivity import output_axis

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["compensate", "compensated_weights"]

# Ridge of the moments, relative to their mean diagonal, because a few images do not determine all directions. On
# EfficientNet-lite0, 0.0001 to 0.01 are within 1 dB of each other.
RIDGE = 0.001


def compensated_weights(
    file: Path, moments: Mapping[str, NDArray[np.float64]], levels: int
) -> dict[str, NDArray[np.float32]]:
    """Return the weights of the float model in ``file`` on their 8-bit levels, as float32 of the same shape, by name.

    Rounding to the nearest level leaves an error in each weight. If inputs share a sign, as after a ReLU, the errors of
    a row add up to a shift of its output, which later layers amplify; a depthwise convolution, with nine weights in a
    row, cannot average it out.

    Args:
        moments: moments of the inputs, by weight; see
            :func:`vgg_calibration.statistics.input_moments.measure_input_moments`.
        levels: the largest level, that of the largest weight of each row.
    """
    model = onnx.load(file, load_external_data=False)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = {}
    for node in model.graph.node:
        if len(node.input) > 1 and (name := node.input[1]) in moments:
            weight = np.asarray(read_tensor(constants[name], beside=file), np.float64)
            rows = np.moveaxis(weight, output_axis(node), 0)
            grouped = rows.reshape(len(moments[name]), -1, moments[name].shape[-1])
            rounded = compensate(grouped, moments[name], levels).reshape(rows.shape)
            weights[name] = np.moveaxis(rounded, 0, output_axis(node)).astype(np.float32)
    return weights


def compensate(weights: NDArray[np.float64], moments: NDArray[np.float64], levels: int) -> NDArray[np.float64]:
    """Round one column after the other, and adjust the following columns to make up for the error.

    This is GPTQ (Frantar et al. 2022, arXiv:2210.17323, algorithm 1) with one scale per row, the same as in rounding
    to the nearest level: the largest weight of the row is unchanged.

    Args:
        weights: float64 (groups, rows, columns).
        moments: float64 (groups, columns, columns).

    Returns:
        multiples of each row's scale, in the shape of ``weights``.
    """
    targets, rounded = weights.copy(), np.empty_like(weights)
    scale = np.maximum(np.abs(weights).max(axis=2), np.finfo(np.float32).tiny) / levels
    largest = np.abs(weights).argmax(axis=2)
    factors = _inverse_factors(moments)
    for column in range(weights.shape[2]):
        nearest = np.clip(np.rint(targets[:, :, column] / scale), -levels, levels) * scale
        rounded[:, :, column] = np.where(largest == column, weights[:, :, column], nearest)
        error = (targets[:, :, column] - rounded[:, :, column]) / factors[:, column, column, np.newaxis]
        targets[:, :, column + 1 :] -= error[:, :, np.newaxis] * factors[:, np.newaxis, column, column + 1 :]
    return rounded


def _inverse_factors(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper triangular ``U`` of each group with ``U^T U`` the inverse of its moments.

    It is the inverse of the factor ``R`` with ``R R^T`` the moments, which is a Cholesky factor in reverse order.
    """
    diagonal = np.einsum("gcc->gc", moments)
    ridge = np.maximum(RIDGE * diagonal.mean(axis=1), np.finfo(np.float32).tiny)
    regular = moments + ridge[:, np.newaxis, np.newaxis] * np.eye(moments.shape[2])
    return np.linalg.inv(np.linalg.cholesky(regular[:, ::-1, ::-1])[:, ::-1, ::-1])
