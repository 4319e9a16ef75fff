"""A session with its own input and output buffers in the memory of its device."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vgg_runtime.backends.onnxruntime_cpu import abandon_after_fork, import_onnxruntime
from vgg_runtime.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vgg_runtime.bundle.manifest import InputArray

__all__ = ["KEPT_BATCH_SIZES", "BoundSession"]

# Enough for the partial batches of a batching queue in practice; each costs one input and one output of its size.
KEPT_BATCH_SIZES = 8

_DTYPES: dict[str, Any] = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


@dataclass(frozen=True)
class _Buffers:
    """The input and the output of one batch size, at fixed addresses."""

    binding: Any
    input: Any
    output: Any


class BoundSession:
    """An ``InferenceSession`` with one pair of buffers per batch size, created once and reused.

    The :data:`KEPT_BATCH_SIZES` most recently used are kept. Calls must not overlap.

    Args:
        session: the ``InferenceSession``, of one input and one output (batch, classes).
        memory: location of the buffers, by onnxruntime's name for it: "cuda" or "cpu".
        index: of the device among those of that name.
    """

    def __init__(self, session: Any, memory: str, index: int = 0) -> None:
        self._session = session
        self._memory = memory
        self._index = index
        self._input = session.get_inputs()[0]
        self._output = session.get_outputs()[0]
        self._buffers: OrderedDict[int, _Buffers] = OrderedDict()
        abandon_after_fork(self)

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata that the exporter wrote into the file."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, batch: InputArray) -> NDArray[np.float32]:
        """Return outputs (batch, classes) for ``batch``, as a copy.

        Raises:
            BundleError: the model takes another shape or dtype.
            Exception: whatever onnxruntime raises.
        """
        self._check(batch)
        buffers = self._buffers_of(batch)
        buffers.input.update_inplace(batch)
        self._session.run_with_iobinding(buffers.binding)
        # Copied, because numpy() may return a view of the buffer, which the next batch overwrites.
        outputs: NDArray[np.float32] = buffers.output.numpy().copy()
        return outputs

    def _check(self, batch: InputArray) -> None:
        """Refuse a ``batch`` that does not fit before buffers are created for it."""
        wanted = self._input.shape
        sizes_fit = len(wanted) == batch.ndim and all(
            size == length for size, length in zip(wanted, batch.shape, strict=True) if isinstance(size, int)
        )
        if not sizes_fit or batch.dtype != _DTYPES[self._input.type]:
            raise BundleError(
                f"onnxruntime cannot run the model on a batch of shape {list(batch.shape)} and {batch.dtype}: it takes "
                f"{self._input.type} of shape {wanted}.",
                hint="The model does not fit the manifest; export the checkpoint again.",
            )

    def _buffers_of(self, batch: InputArray) -> _Buffers:
        size = len(batch)
        if size not in self._buffers:
            while len(self._buffers) >= KEPT_BATCH_SIZES:
                self._buffers.popitem(last=False)
            self._buffers[size] = self._make_buffers(batch)
        self._buffers.move_to_end(size)
        return self._buffers[size]

    def _make_buffers(self, batch: InputArray) -> _Buffers:
        make = import_onnxruntime().OrtValue.ortvalue_from_shape_and_type
        buffers = _Buffers(
            self._session.io_binding(),
            make(list(batch.shape), _DTYPES[self._input.type], self._memory, self._index),
            make([len(batch), *self._output.shape[1:]], _DTYPES[self._output.type], self._memory, self._index),
        )
        buffers.binding.bind_ortvalue_input(self._input.name, buffers.input)
        buffers.binding.bind_ortvalue_output(self._output.name, buffers.output)
        return buffers
