"""Read the weights of a TorchScript archive. Its code is read as text and never run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from vgg_models.checkpoint.building import Builder
from vgg_models.checkpoint.descriptions import ObjectDescription, TensorDescription
from vgg_models.checkpoint.torch_archive import TorchArchive
from vgg_models.checkpoint.zip_directory import DAMAGE_HINT
from vgg_runtime._internal.shortening import shortened
from vgg_runtime.errors import CheckpointError

__all__ = ["check_torchscript", "read_torchscript"]

_COMPRESSED = ("code/", "extra/")
_MAX_CODE_BYTES = 16 * 1024 * 1024  # of all files together
# The code of each class begins with the names of its tensors: __parameters__ = ["weight", "bias", ]
_CLASS = re.compile(r"^class (\w+)(?:\(\w+\))?:\n((?:  __\w+__ = .*\n)*)", re.MULTILINE)
_TENSORS = re.compile(r"^  (__parameters__|__buffers__) = \[(.*)\]$", re.MULTILINE)
_TORCH_LAYERS = "__torch__.torch.nn.modules."
_NAME = re.compile(r'"([^"]*)"')


def check_torchscript(path: Path) -> None:
    """Hold the storages of an archive against the tensors that it describes, of its modules and of its code.

    PyTorch's loader takes a storage for as long as its tensors are, and reads behind a shorter one. Nothing of the
    weights is read here. The code is not looked at.

    Raises:
        UnsafeCheckpointError: the archive has a pickle that names what no TorchScript archive names.
        CheckpointError: it lacks a storage, or has one of another size. A damaged archive may raise any other
            exception too.
    """
    archive = TorchArchive(path, compressed=_COMPRESSED)
    for name, folder in (("data.pkl", "data"), ("constants.pkl", "constants")):
        archive.records_of(archive.describe(name).storages, folder)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the state dict of an archive that torch.jit.save wrote, on the CPU. The weights are mapped, not copied.

    Raises:
        CheckpointError: the archive is damaged, or frozen (its weights are constants in the code).
    """
    archive = TorchArchive(path, compressed=_COMPRESSED)
    description = archive.describe("data.pkl")
    tensors = dict(_tensors(description.content, "", _TensorNames(archive)))
    if not tensors:
        raise CheckpointError(
            f"{path} is a frozen TorchScript archive, or one with a __setstate__ of its own: it has no weights that "
            "can be read without running its code.",
            hint="Give the checkpoint that it was made from, or the archive before torch.jit.freeze.",
        )
    builder = Builder(archive.map_storages({each.storage.key: each.storage for each in tensors.values()}))
    return {key: builder.build(tensor) for key, tensor in tensors.items()}


def _tensors(module: object, prefix: str, names: _TensorNames) -> Iterator[tuple[str, TensorDescription]]:
    """Yield the tensors of a module and of its children, in the order of its state dict."""
    if not isinstance(module, ObjectDescription) or not isinstance(module.state, dict):
        return
    known = names.of_class(module.name)
    for name in known:
        if name not in module.state:
            raise CheckpointError(f"the archive lacks the tensor {shortened(prefix + name)}.", hint=DAMAGE_HINT)
        if isinstance(tensor := module.state[name], TensorDescription):
            yield f"{prefix}{name}", tensor
    # A user's class may have tensors as plain attributes, which are in no state dict. Torch's own layers have none.
    for name, value in module.state.items() if module.name.startswith(_TORCH_LAYERS) else ():
        if isinstance(value, TensorDescription) and name not in known:
            raise CheckpointError(
                f"the archive has the tensor {shortened(prefix + name)}, which the code of its class does not name.",
                hint=DAMAGE_HINT,
            )
    for name, child in module.state.items():
        yield from _tensors(child, f"{prefix}{name}.", names)


class _TensorNames:
    """The names of the parameters and buffers of each class in an archive."""

    def __init__(self, archive: TorchArchive) -> None:
        self._archive = archive
        self._left = _MAX_CODE_BYTES
        self._files: dict[str, dict[str, list[str]]] = {}

    def of_class(self, name: str) -> list[str]:
        """Return the names for a class such as ``__torch__.torch.nn.modules.linear.Linear``.

        Raises:
            CheckpointError: the archive does not have the class.
        """
        module, _, attribute = name.rpartition(".")
        file = f"code/{module.replace('.', '/')}.py"
        if file not in self._files:
            self._files[file] = self._read(file)
        if attribute not in self._files[file]:
            raise CheckpointError(f"the archive lacks the code of the class {shortened(name)}.", hint=DAMAGE_HINT)
        return self._files[file][attribute]

    def _read(self, file: str) -> dict[str, list[str]]:
        if file not in self._archive.records:
            return {}
        code = self._archive.records[file].read(at_most=self._left).decode()
        self._left -= len(code)
        return {
            name: [tensor for _, names in _TENSORS.findall(head) for tensor in _NAME.findall(names)]
            for name, head in _CLASS.findall(code)
        }
