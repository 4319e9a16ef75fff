"""The measured peaks of this machine's CPU: float32 multiply-accumulates, and reading memory.

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

MODULE = "vgg_bench.measurement.peaks"  # not __name__, which is another where it runs as a script

SIDE, FLOATS, REPEATS = 2048, 2**26, 8


@dataclass(frozen=True)
class Peaks:
    """Of a number of threads.

    Attributes:
        gmac_per_s: 10^9 multiply-accumulates per second.
        gigabytes_per_s: 10^9 bytes read per second.
    """

    gmac_per_s: float
    gigabytes_per_s: float


def measure_peaks(threads: int) -> Peaks | None:
    """Measure in a process of its own, as the number of threads of a BLAS is settled at its import.

    Returns:
        None where that fails, for want of memory as a rule: it takes 300 MB.
    """
    sizes = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    # OpenBLAS, which comes with numpy, takes its AVX2 kernels on AMD's processors that have AVX-512 too.
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
    """By the product of two square matrices."""
    import numpy as np

    a = np.random.default_rng(0).random((SIDE, SIDE), dtype=np.float32)
    product = a @ a
    return float(SIDE**3 / _fastest(lambda: np.matmul(a, a, out=product)) / 1e9)


def _gigabytes_per_s(threads: int) -> float:
    """By the maximum of an array that no cache holds, a part per thread; numpy lets go of its lock meanwhile."""
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
