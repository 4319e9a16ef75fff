"""The Open Inference Protocol (KServe v2) over HTTP, with tensors as JSON or, by its extension, as bytes behind it.

https://github.com/kserve/open-inference-protocol
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from vgg_runtime.bundle.manifest import InputArray, InputSpec, Manifest

DATATYPES = {"float32": "FP32", "uint8": "UINT8"}


@dataclass(frozen=True)
class InferenceRequest:
    """A batch of images as the network takes them, and how its outputs are wanted."""

    batch: InputArray
    id: str | None
    binary_output: bool


def model_metadata(name: str, manifest: Manifest) -> dict[str, Any]:
    spec, output = manifest.input, manifest.output
    return {
        "name": name,
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": [-1, *spec.image_shape]}],
        "outputs": [{"name": output.name, "datatype": "FP32", "shape": [-1, output.classes]}],
    }


def read_request(body: bytes, header_length: str | None, manifest: Manifest) -> InferenceRequest:
    """Return the request in ``body``, whose first ``header_length`` bytes are JSON; without a length, all of them."""
    try:
        length = len(body) if header_length is None else int(header_length)
        request = json.loads(body[:length])
        batch = _read_tensor(request["inputs"], body[length:], manifest.input)
        outputs = request.get("outputs", [])
        binary = bool(_parameters(request).get("binary_data_output", False))
        for output in outputs:
            if output["name"] != manifest.output.name:
                raise ValueError(f"there is no output {output['name']!r}; it is {manifest.output.name!r}")
            if "classification" in _parameters(output):
                raise ValueError("classification is not supported; POST the image to /predict")
            binary = bool(_parameters(output).get("binary_data", binary))
        return InferenceRequest(batch, request.get("id"), binary)
    except KeyError as error:
        raise HTTPException(400, f"the request lacks {error}.") from None
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise HTTPException(400, f"the request is not an inference request: {error}.") from None


def write_response(request: InferenceRequest, outputs: np.ndarray, name: str, manifest: Manifest) -> Response:
    """Return the outputs, float32 (images, classes), as the request wants them."""
    tensor: dict[str, Any] = {"name": manifest.output.name, "datatype": "FP32", "shape": outputs.shape}
    answer: dict[str, Any] = {"model_name": name, "model_version": "1", "outputs": [tensor]}
    if request.id is not None:
        answer["id"] = request.id
    if not request.binary_output:
        tensor["data"] = outputs.ravel().tolist()
        return JSONResponse(answer)
    data = outputs.astype("<f4").tobytes()
    tensor["parameters"] = {"binary_data_size": len(data)}
    header = json.dumps(answer).encode()
    length = {"Inference-Header-Content-Length": str(len(header))}
    return Response(header + data, media_type="application/octet-stream", headers=length)


def _read_tensor(inputs: Any, binary: bytes, spec: InputSpec) -> InputArray:
    [tensor] = inputs
    if (tensor["name"], tensor["datatype"]) != (spec.name, DATATYPES[spec.dtype]):
        raise ValueError(f"the input is {spec.name!r} of datatype {DATATYPES[spec.dtype]}")
    count, *image_shape = tensor["shape"]
    if tuple(image_shape) != spec.image_shape or not isinstance(count, int) or count < 1:
        raise ValueError(f"the input has shape {[-1, *spec.image_shape]}, got {tensor['shape']}")
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        values = np.array(tensor["data"], dtype)
    elif size != len(binary) or size % dtype.itemsize:
        raise ValueError(f"binary_data_size is {size}, and {len(binary)} bytes follow the JSON")
    else:
        values = np.frombuffer(binary, dtype)
    if values.size != count * math.prod(spec.image_shape):
        raise ValueError(f"shape {tensor['shape']} has another number of values than the {values.size} that were sent")
    return values.reshape(count, *spec.image_shape)


def _parameters(part: dict[str, Any]) -> dict[str, Any]:
    return part.get("parameters") or {}
