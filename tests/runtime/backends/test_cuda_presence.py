from __future__ import annotations

import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

from vgg_runtime.backends import cuda_presence
from vgg_runtime.backends.cuda_presence import require_cuda
from vgg_runtime.errors import MissingCapabilityError

# A library that the loader of every system here finds, in the place of one that only a GPU's machine has.
FOUND = "kernel32.dll" if sys.platform == "win32" else None
MISSING = "libnowhere.so.1"


class FakeOnnxRuntime:
    """As much of onnxruntime-gpu as is asked before there is a session."""

    __version__ = "1.31.1"

    def __init__(self, *, providers: tuple[str, ...] = ("CUDAExecutionProvider",), printed: str = "", gpu: str = ""):
        self._providers = providers
        self._printed = printed
        self._gpu = gpu
        self.OrtValue = SimpleNamespace(ortvalue_from_shape_and_type=self._allocate)
        self.severity = 2

    def set_default_logger_severity(self, severity: int) -> None:
        self.severity = severity

    def get_available_providers(self) -> list[str]:
        return [*self._providers, "CPUExecutionProvider"]

    def preload_dlls(self, *, directory: str) -> None:
        assert directory == ""  # what pip installed comes first
        print(self._printed)

    def _allocate(self, shape: list[int], dtype: Any, device: str, index: int) -> None:
        assert device == "cuda"
        if self._gpu:
            raise RuntimeError(self._gpu)
        if index > 0:
            raise RuntimeError("The provided device id doesn't match any available GPUs on the machine.")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend a machine: what its onnxruntime is like, and which libraries it lacks."""

    def pretend(*, lacks: tuple[str, ...] = (), **onnxruntime: Any) -> None:
        monkeypatch.setattr(cuda_presence, "import_onnxruntime", cache(lambda: FakeOnnxRuntime(**onnxruntime)))
        for name in ("DRIVER", "_CUDNN"):
            monkeypatch.setattr(cuda_presence, name, MISSING if name in lacks else FOUND)

    return pretend


def test_a_machine_with_all_of_it_passes(machine: Any, capfd: pytest.CaptureFixture[str]) -> None:
    machine(printed="Failed to load /venv/nvidia/cu13/lib/libcurand.so.10: found elsewhere")
    require_cuda()
    assert capfd.readouterr() == ("", "")


def test_an_onnxruntime_for_the_cpu_says_how_to_get_the_other(machine: Any) -> None:
    machine(providers=())
    with pytest.raises(MissingCapabilityError, match=r"onnxruntime 1\.31\.1 is built without CUDA") as error:
        require_cuda()
    assert "pip uninstall -y onnxruntime" in error.value.hint
    assert 'pip install "vgg-deploy[gpu]"' in error.value.hint


@pytest.mark.parametrize(
    ("libraries", "message"),
    [
        ({"lacks": ("DRIVER",)}, f"CUDA is missing: the NVIDIA driver ({MISSING}) cannot be loaded."),
        ({"lacks": ("_CUDNN",)}, f"CUDA is missing: cuDNN ({MISSING}) cannot be loaded."),
        (
            {
                "lacks": ("DRIVER",),
                "printed": "Failed to load libcublas.so.13: libcublas.so.13: cannot open shared object file\n"
                "Failed to load libcurand.so.10: libcurand.so.10: cannot open shared object file\n"
                "Please follow https://onnxruntime.ai/docs/install/ to install CUDA.",
            },
            f"CUDA is missing: the NVIDIA driver ({MISSING}), CUDA (libcublas.so.13, libcurand.so.10) cannot be "
            "loaded.",
        ),
    ],
)
def test_every_library_that_is_missing_is_named(
    machine: Any, capfd: pytest.CaptureFixture[str], libraries: dict[str, Any], message: str
) -> None:
    machine(**libraries)
    with pytest.raises(MissingCapabilityError) as error:
        require_cuda()
    assert error.value.message == message
    assert 'pip install "vgg-deploy[gpu]"' in error.value.hint
    assert capfd.readouterr().out == ""  # which may be JSON


def test_unusable_gpu_is_told_from_missing_libraries(machine: Any) -> None:
    machine(gpu="CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version\nat line 1")
    with pytest.raises(MissingCapabilityError) as error:
        require_cuda()
    assert error.value.message.startswith("CUDA is missing: the GPU cannot be used: CUDA failure 35:")
    assert "\n" not in error.value.message
    assert "nvidia-smi" in error.value.hint


def test_onnxruntime_no_longer_warns_of_what_is_no_fault(machine: Any) -> None:
    machine()
    require_cuda()
    assert cuda_presence.import_onnxruntime().severity == 3


def test_a_gpu_of_another_index_is_not_taken_for_the_first(machine: Any) -> None:
    machine()
    require_cuda(0)
    with pytest.raises(MissingCapabilityError, match="the GPU 1 cannot be used: The provided device id doesn't match"):
        require_cuda(1)
