"""The CPUs and GPUs to quantize for, which decide which 8-bit arithmetic is exact and fast."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ANY_CPU", "TARGETS", "Target"]


@dataclass(frozen=True)
class Target:
    """A preset.

    Attributes:
        reduce_range: whether weights have 7 bits. Without VNNI, x86 adds two products of unsigned and signed 8-bit
            values in 16 bits, which can saturate (``vpmaddubsw``); with 7 bits it cannot.
    """

    name: str
    reduce_range: bool

    @property
    def weight_levels(self) -> int:
        """The largest level of a weight; onnxruntime's for symmetric int8, with and without ``reduce_range``."""
        return 64 if self.reduce_range else 127


ANY_CPU = "any"

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(ANY_CPU, reduce_range=True),  # safe on any CPU, at the cost of one bit per weight
        Target("vnni", reduce_range=False),  # x86 with AVX512-VNNI or AVX-VNNI: sums in 32 bits
        Target("avx2", reduce_range=True),
        Target("arm64", reduce_range=False),  # sdot and smmla sum in 32 bits
        Target("cuda", reduce_range=False),
    )
}
