"""From raw outputs to figures: agreement with reference outputs, and probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vgg_runtime._internal.lazy_numpy import NDArray, np
from vgg_runtime.bundle.manifest import OutputKind, ParityFigures

__all__ = ["compare", "probabilities", "snr_db"]


# Two classes of one sample whose reference outputs differ by less than this share of its largest output are tied:
# about ten times the error from reordering the sums in a deep float32 network.
TIE = 1e-5


def snr_db(reference: NDArray[Any], actual: NDArray[Any]) -> float:
    """Return the signal-to-noise ratio 10 log10(sum r^2 / sum (a - r)^2) in dB; infinity if both are equal."""
    reference, actual = np.asarray(reference, np.float64), np.asarray(actual, np.float64)
    noise = float(np.sum((actual - reference) ** 2))
    signal = float(np.sum(reference**2))
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def compare(
    reference: NDArray[np.float32],
    actual: NDArray[np.float32],
    names: Sequence[str],
    *,
    batch_sizes: Sequence[int] = (),
    tie: float = 0.0,
) -> ParityFigures:
    """Compare ``actual`` with ``reference``, both float32 (samples, classes); ``names`` are the names of the samples.

    The relative error divides by the largest absolute reference output of the sample, so that outputs near zero
    do not inflate it. Agreements count a class as the same if the reference itself ties (:data:`TIE`);
    ``top1_agreement_with_ties`` also if it separates the two by less than ``tie`` standard deviations of the sample.
    An output that is not finite makes every figure a miss.
    """
    if reference.shape != actual.shape or reference.ndim != 2 or len(names) != len(reference):
        raise ValueError(f"shapes {reference.shape} and {actual.shape} with {len(names)} names do not fit")
    r, a = reference.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(a).all()
    a = np.where(np.isfinite(a), a, np.finfo(np.float32).max)
    error = np.abs(a - r)
    scale = np.maximum(np.abs(r).max(axis=1), np.finfo(np.float32).tiny)
    per_sample = [snr_db(r[i], a[i]) for i in range(len(r))]

    def agreement(tie: NDArray[np.float64], k: int) -> float:
        return _top_agreement(r, a, tie, k) if finite else 0.0

    return ParityFigures(
        samples=len(r),
        batch_sizes=tuple(batch_sizes),
        max_abs_error=float(error.max()),
        max_rel_error=float((error.max(axis=1) / scale).max()),
        snr_db=_storable(snr_db(r, a)),
        cosine=float(min(_cosine(x, y) for x, y in zip(r, a, strict=True))) if finite else -1.0,
        top1_agreement=agreement(TIE * scale, 1),
        top1_agreement_with_ties=agreement(TIE * scale + tie * r.std(axis=1), 1),
        top5_agreement=agreement(TIE * scale, 5) if r.shape[1] > 5 else None,
        worst_sample=names[int(np.argmin(per_sample))],
        centered_snr_db=_centered_snr_db(r, a),
    )


def _storable(decibels: float) -> float | None:
    """JSON has no infinity: None stands for equal outputs, -999 for no signal at all."""
    return None if decibels == math.inf else max(decibels, -999.0)


def _centered_snr_db(r: NDArray[np.float64], a: NDArray[np.float64]) -> float | None:
    """The signal-to-noise ratio 10 log10(sum (r - m)^2 / sum (a - r)^2), where m is the mean of r over the samples.

    Outputs that are nearly the same for every sample have a large signal that does not distinguish the samples.
    """
    if len(r) < 2:
        return None
    mean = r.mean(axis=0)
    return _storable(snr_db(r - mean, a - mean))


def _cosine(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norms == 0:
        return 1.0 if np.array_equal(x, y) else 0.0
    return min(float(x @ y) / norms, 1.0)


def _top_agreement(r: NDArray[np.float64], a: NDArray[np.float64], tie: NDArray[np.float64], k: int) -> float:
    """Mean share of the k best classes by ``a`` that are among the k best by ``r``, ties within ``tie`` included."""
    top_k = np.argsort(-a, axis=1, kind="stable")[:, :k]
    threshold = np.sort(r, axis=1)[:, -k] - tie
    return float((np.take_along_axis(r, top_k, axis=1) >= threshold[:, np.newaxis]).mean())


def probabilities(outputs: NDArray[np.float32], kind: OutputKind) -> NDArray[np.float64]:
    """Return probabilities (batch, classes) from ``outputs`` (batch, classes) of the given kind.

    The softmax subtracts the largest logit first, so that it neither overflows nor loses the small ones.
    Outputs that are NaN, and infinite logits, give probabilities that are NaN.
    """
    values = outputs.astype(np.float64)
    if kind == "probabilities":
        return values
    if kind == "log_probabilities":
        return np.exp(values)
    with np.errstate(invalid="ignore"):
        exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares
