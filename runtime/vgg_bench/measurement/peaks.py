"""The measured peaks of this machine's CPU: float32 multiply-accumulates, and memory reads.

python -m vgg_bench.measurement.peaks THREADS      prints ``{"gmac_per_s": ..., "gigabytes_per_s": ...}``
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Peaks", "measure_peaks"]

MODULE = "vgg_bench.measurement.peaks"  # not __name__, which is "__main__" in a script

SIDE, FLOATS, REPEATS = 2048, 2**26, 8


@dataclass(frozen=True)
class Peaks:
    """The peak rates at a number of threads.

    Attributes:
        gmac_per_s: 10^9 multiply-accumulates per second.
        gigabytes_per_s: 10^9 bytes read per second.
    """

    gmac_per_s: float
    gigabytes_per_s: float


def measure_peaks(threads: int) -> Peaks | None:
    """Measure in a separate process, because a BLAS fixes its number of threads when it is imported.

    Returns:
        None if that fails, usually for lack of memory: it takes 300 MB.
    """
    sizes = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    # numpy's OpenBLAS uses its AVX2 kernels on AMD processors even if they have AVX-512.
    wide = {"OPENBLAS_CORETYPE": "SkylakeX"} if _has_avx512() else {}
    command = [sys.executable, "-P", "-m", MODULE, str(threads)]
    done = subprocess.run(command, check=False, env=os.environ | sizes | wide, capture_output=True, text=True)
    return None if done.returncode else Peaks(**json.loads(done.stdout))


def _has_avx512() -> bool:
    try:
        return " avx512f " in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _gmac_per_s() -> float:
    """Measured by a product of two square matrices."""
    import numpy as np

    a = np.random.default_rng(0).random((SIDE, SIDE), dtype=np.float32)
    product = a @ a
    return float(SIDE**3 / _fastest(lambda: np.matmul(a, a, out=product)) / 1e9)


def _gigabytes_per_s(threads: int) -> float:
    """Measured by the maximum of an array too large for any cache, one part per thread; numpy releases the GIL."""
    import numpy as np

    parts = np.array_split(np.ones(FLOATS, np.float32), threads)
    with ThreadPoolExecutor(threads) as pool:
        return FLOATS * 4 / _fastest(lambda: list(pool.map(np.max, parts))) / 1e9


def _fastest(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    count = int(sys.argv[1])
    sys.stdout.write(json.dumps({"gmac_per_s": _gmac_per_s(), "gigabytes_per_s": _gigabytes_per_s(count)}))
