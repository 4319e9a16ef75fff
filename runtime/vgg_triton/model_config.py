"""``config.pbtxt``: what Triton has to know about a model, as text of the protobuf ``ModelConfig``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from vgg_runtime.bundle.manifest import Manifest

__all__ = ["LABELS", "Device", "has_label_file", "model_config"]

LABELS = "labels.txt"

Device = Literal["auto", "cpu", "cuda"]

_DATA_TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8"}
_KINDS: dict[Device, str] = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "cuda": "KIND_GPU"}

_CONFIG = """\
name: {name}
platform: "onnxruntime_onnx"
max_batch_size: {max_batch}
input [
  {{
    name: {input_name}
    data_type: {input_type}
    dims: [ {input_dims} ]
  }}
]
output [
  {{
    name: {output_name}
    data_type: TYPE_FP32
    dims: [ {output_dims} ]{labels}
  }}
]
{batching}instance_group [
  {{
    count: {instances}
    kind: {kind}
  }}
]
"""


def model_config(name: str, manifest: Manifest, *, max_batch: int, instances: int, device: Device) -> str:
    """Return the text of ``config.pbtxt`` for a variant of the bundle that ``manifest`` describes.

    Args:
        name: of the model; Triton requires it to be the name of its folder.
        max_batch: how many images Triton may gather into a batch; has no effect on a model of fixed batch size, which
            takes exactly that many, the batch being one more dimension to Triton.
        instances: sessions that run side by side, on each device.
        device: where they run; "auto" is the GPUs if the server has some.
    """
    fixed = manifest.input.batch_size
    batch = () if fixed is None else (fixed,)
    return _CONFIG.format(
        name=json.dumps(name),
        max_batch=max_batch if fixed is None else 0,
        input_name=json.dumps(manifest.input.name),
        input_type=_DATA_TYPES[manifest.input.dtype],
        input_dims=_dims((*batch, *manifest.input.image_shape)),
        output_name=json.dumps(manifest.output.name),
        output_dims=_dims((*batch, manifest.output.classes)),
        labels=f'\n    label_filename: "{LABELS}"' if has_label_file(manifest) else "",
        batching="dynamic_batching { }\n" if fixed is None else "",
        instances=instances,
        kind=_KINDS[device],
    )


def has_label_file(manifest: Manifest) -> bool:
    """Whether Triton can name classes: it takes the outputs of a fixed batch for those of one image."""
    return manifest.labels is not None and manifest.input.batch_size in (None, 1)


def _dims(sizes: Iterable[int]) -> str:
    return ", ".join(map(str, sizes))
