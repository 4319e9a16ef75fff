"""Triton's ONNX Runtime backend for what is tested here, in Python: the Triton of PyPI has no other backend.

Like the one in C++ it runs the requests that Triton has gathered as one batch. It is copied into the server's folder of
backends, and reads models and configurations as they are.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

sys.path += os.environ["PYTHONPATH"].split(os.pathsep)  # the interpreter inside Triton ignores it

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        assert config["platform"] == "onnxruntime_onnx"
        self.input, self.output = config["input"][0]["name"], config["output"][0]["name"]
        self.session = onnxruntime.InferenceSession(f"{args['model_repository']}/{args['model_version']}/model.onnx")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        batches = [triton.get_input_tensor_by_name(request, self.input).as_numpy() for request in requests]
        (outputs,) = self.session.run([self.output], {self.input: np.concatenate(batches)})
        parts = np.split(outputs, np.cumsum([len(batch) for batch in batches])[:-1])
        return [triton.InferenceResponse([triton.Tensor(self.output, part)]) for part in parts]
