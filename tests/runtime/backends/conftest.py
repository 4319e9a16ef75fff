"""CUDA but for CUDA itself: its sessions run on the CPU's provider, its buffers lie in the CPU's memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from vgg_runtime.backends import cuda_presence, device_selection, onnxruntime_cuda
from vgg_runtime.backends.onnxruntime_cpu import create_session

# The largest batch for which the model of ``greedy_model`` has the memory that it asks for.
MODEST_BATCH = 4


@dataclass(frozen=True)
class Request:
    """What the code under test asked onnxruntime for."""

    provider: str
    settings: dict[str, str]
    cpu_is_recorded: bool
    cpu_is_refused: bool
    quantization_is_folded: bool


def is_on(options: Any, entry: str) -> bool:
    """Whether the entry of an ``onnxruntime.SessionOptions`` was set to 1."""
    try:
        return options.get_session_config_entry(entry) == "1"
    except Exception:  # it was not set
        return False


@dataclass
class CudaOnCpu:
    """What was asked for, and the real sessions that came of it.

    Attributes:
        raise_on_opening: the exceptions that the next sessions end in, before they are there.
        raise_on_running: the exceptions that the next runs end in.
        operators_on_cpu: types of operators that CUDA leaves to the CPU.
    """

    requests: list[Request] = field(default_factory=list)
    sessions: list[Any] = field(default_factory=list)
    raise_on_opening: list[Exception] = field(default_factory=list)
    raise_on_running: list[Exception] = field(default_factory=list)
    operators_on_cpu: set[str] = field(default_factory=set)

    def create_session(self, model: Path, options: Any, provider: str, settings: dict[str, str]) -> Any:
        self.requests.append(
            Request(
                provider,
                settings,
                cpu_is_recorded=is_on(options, "session.record_ep_graph_assignment_info"),
                cpu_is_refused=is_on(options, "session.disable_cpu_ep_fallback"),
                quantization_is_folded=is_on(options, "session.disable_quant_qdq"),
            )
        )
        if self.raise_on_opening:
            raise self.raise_on_opening.pop(0)
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "0")
        session = create_session(model, options, "CPUExecutionProvider")
        self.sessions.append(session)
        return session


@pytest.fixture
def cuda_on_cpu(monkeypatch: pytest.MonkeyPatch) -> CudaOnCpu:
    fake = CudaOnCpu()
    run = onnxruntime.InferenceSession.run_with_iobinding

    def run_or_raise(session: Any, binding: Any) -> None:
        if fake.raise_on_running:
            raise fake.raise_on_running.pop(0)
        run(session, binding)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", run_or_raise)
    monkeypatch.setattr(onnxruntime_cuda, "create_session", fake.create_session)
    monkeypatch.setattr(onnxruntime_cuda, "operators_on_cpu", lambda session: fake.operators_on_cpu)
    monkeypatch.setattr(onnxruntime_cuda, "_MEMORY", "cpu")
    monkeypatch.setattr(cuda_presence, "require_cuda", lambda gpu: None)
    monkeypatch.setattr(device_selection, "_process_on_cuda", None)
    return fake


@pytest.fixture
def model(tmp_path: Path, write_model: Callable[..., None]) -> Path:
    write_model(tmp_path / "model.onnx", metadata={"key": "value"})
    return tmp_path / "model.onnx"


@pytest.fixture
def greedy_model(tmp_path: Path) -> Path:
    """Means of the planes; a batch above MODEST_BATCH asks for 2**50 bytes on the way, which no machine has."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Shape", ["means"], ["batch"], end=1),
        helper.make_node("Greater", ["batch", "modest"], ["is_greedy"]),
        helper.make_node("Where", ["is_greedy", "huge", "one"], ["numbers"]),
        helper.make_node("ConstantOfShape", ["numbers"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["means", "zero"], ["output"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([value], np.int64), name)
        for name, value in (("modest", MODEST_BATCH), ("huge", 2**48), ("one", 1))
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 6, 8])]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 3])]
    graph = helper.make_graph(nodes, "greedy", inputs, outputs, constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "greedy.onnx"
    )
    return tmp_path / "greedy.onnx"
