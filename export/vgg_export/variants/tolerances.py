"""The agreement with eager PyTorch that variants of each precision must reach."""

from __future__ import annotations

from vgg_runtime.bundle.manifest import Tolerance

__all__ = ["FLOAT_ROUNDING", "HALF_ROUNDING", "INT4_WEIGHTS", "INT8_ACTIVATIONS", "INT8_LINEAR", "LOW_RANK"]

# Sums in another order differ by about 1e-6 of their size after a deep float32 network: 120 dB. A wrong pad, a
# missing activation or a half-precision cast is below 80 dB.
FLOAT_ROUNDING = Tolerance(
    "float rounding", min_snr_db=100, min_cosine=0.999999, min_top1_agreement=1, min_top5_agreement=1
)

# 11 bits of mantissa: 66 dB for one rounding, some 15 dB less after a deep network.
HALF_ROUNDING = Tolerance(
    "half-precision rounding",
    min_snr_db=40,
    min_cosine=0.9999,
    min_top1_agreement=0.98,
    min_top5_agreement=0.9,
    tie=0.05,
)

# 8 bits lose about 6 dB per bit: some 40 dB for one layer. With a wrong scale, axis or zero point it is
# below 10 dB. Top-5 sets of close classes change long before the best class does, so they are only a coarse check.
INT8_LINEAR = Tolerance(
    "int8 in the fully connected layers",
    min_snr_db=20,
    min_cosine=0.99,
    min_top1_agreement=0.95,
    min_top5_agreement=0.6,
    tie=0.25,
)
INT8_ACTIVATIONS = Tolerance(
    "int8 weights and activations",
    min_snr_db=14,
    min_cosine=0.95,
    min_top1_agreement=0.93,
    min_top5_agreement=0.5,
    tie=0.25,
)
INT4_WEIGHTS = Tolerance(
    "int4 weights", min_snr_db=9, min_cosine=0.9, min_top1_agreement=0.9, min_top5_agreement=0.4, tie=0.5
)

# A network with fewer operations is a different one, which keeps the predictions but not the scores: it must reach the
# agreement or the accuracy that the user requires. These bounds only distinguish it from a broken one.
LOW_RANK = Tolerance("low rank", min_snr_db=3, min_cosine=0, min_top1_agreement=0.5, min_top5_agreement=0.2)
