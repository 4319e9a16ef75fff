"""The device that PyTorch runs on for a session configuration."""

from __future__ import annotations

from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.errors import MissingCapabilityError

__all__ = ["torch_device"]


def torch_device(config: SessionConfig) -> str:
    """Return the device of ``config`` by PyTorch's name for it, after giving PyTorch the settings that go with it.

    PyTorch has one number of threads and one choice of TF32 per process; by default its convolutions use TF32.

    Raises:
        MissingCapabilityError: CUDA was asked for and is missing, or has no GPU of that index.
    """
    import torch

    torch.set_num_threads(config.threads)
    if config.device == "cpu" or (config.device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise MissingCapabilityError("CUDA is not available to this PyTorch.", hint="Use `device='cpu'`.")
    if config.gpu >= torch.cuda.device_count():
        raise MissingCapabilityError(
            f"there is no GPU {config.gpu}: PyTorch sees {torch.cuda.device_count()}, counted from 0.",
            hint="nvidia-smi lists the GPUs; CUDA_VISIBLE_DEVICES can hide some.",
        )
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = config.cuda.tf32
    return config.cuda_device
