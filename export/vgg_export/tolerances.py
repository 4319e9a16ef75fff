"""The least agreement with eager PyTorch that a variant of each precision must show."""

from __future__ import annotations

from vgg_runtime.manifest import Tolerance

__all__ = ["FLOAT_ROUNDING"]

# Sums in another order differ by about 1e-6 of their size after a deep float32 network: 120 dB. A wrong pad, a
# missing activation or a half-precision cast is below 80 dB.
FLOAT_ROUNDING = Tolerance(
    "float rounding", min_snr_db=100, min_cosine=0.999999, min_top1_agreement=1, min_top5_agreement=1
)
