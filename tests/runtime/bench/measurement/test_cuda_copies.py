from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from vgg_bench.measurement.cuda_copies import copies_of


def test_the_batch_goes_to_the_device_and_the_outputs_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in for onnxruntime writes down what is copied; the outputs are put on the device beforehand."""
    log: list[tuple[str, tuple[int, ...]]] = []

    class OrtValue:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        @classmethod
        def ortvalue_from_numpy(cls, array: np.ndarray, device: str, number: int) -> OrtValue:
            log.append((f"to {device}:{number}", array.shape))
            return cls(array)

        def numpy(self) -> np.ndarray:
            log.append(("back", self.array.shape))
            return self.array

    onnxruntime = SimpleNamespace(OrtValue=OrtValue)
    monkeypatch.setattr("vgg_runtime.backends.onnxruntime_cpu.import_onnxruntime", lambda: onnxruntime)
    copy = copies_of(np.zeros((2, 3, 8, 8), np.float32), 10)
    log.clear()
    copy()
    assert log == [("to cuda:0", (2, 3, 8, 8)), ("back", (2, 10))]
