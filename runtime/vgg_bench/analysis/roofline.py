"""The distance of a call from this machine's limit (S. Williams, A. Waterman, D. Patterson, CACM 52 (2009), 65-76)."""

from __future__ import annotations

from vgg_bench.measurement.peaks import Peaks
from vgg_bench.results import Roofline
from vgg_runtime.bundle.manifest import Manifest

__all__ = ["roofline"]

FLOAT32 = 4


def roofline(manifest: Manifest, weight_bytes: int, batch_size: int, peaks: Peaks, p50_ms: float) -> Roofline | None:
    """Return the roofline of a call, None if the manifest does not state what the network costs.

    A call has to read the weights, in their stored precision, and to write and read each activation, in float32. The
    limit of arithmetic is that of float32: 8-bit variants may exceed it.
    """
    macs, activations = manifest.architecture.macs, manifest.architecture.activations
    if macs is None or activations is None:
        return None
    gmac = macs * batch_size / 1e9
    gigabytes = (weight_bytes + 2 * FLOAT32 * activations * batch_size) / 1e9
    limit_ms = 1e3 * max(gmac / peaks.gmac_per_s, gigabytes / peaks.gigabytes_per_s)
    return Roofline(gmac, gigabytes, limit_ms, limit_ms / p50_ms)
