"""The whole path of CUDA with real sessions and real buffers; only the device is the CPU (see conftest.py)."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from vgg_runtime.backends import onnxruntime_cuda
from vgg_runtime.backends.base import CudaOptions, SessionConfig
from vgg_runtime.backends.io_binding import KEPT_BATCH_SIZES, BoundSession
from vgg_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend, create_session, session_options
from vgg_runtime.backends.onnxruntime_cuda import CudaBackend, operators_on_cpu
from vgg_runtime.errors import BundleError, MissingCapabilityError, OutOfMemoryError

BATCH = np.random.default_rng(0).random((40, 3, 6, 8), dtype=np.float32)
GREEDY = BATCH[:5]  # more than the greedy model has memory for
OUT_OF_MEMORY = "CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);"
LOST = "CUDA failure 719: unspecified launch failure ; GPU=0 ; expr=cudaStreamSynchronize(stream);"

pytestmark = pytest.mark.usefixtures("cuda_on_cpu")


@pytest.fixture(params=[(), (1, 2, 3)], ids=["plain", "graphs"])
def graph_batch_sizes(request: pytest.FixtureRequest) -> tuple[int, ...]:
    sizes: tuple[int, ...] = request.param
    return sizes


@pytest.fixture
def switch_often() -> Iterator[None]:
    """Threads take turns at every chance, so that what is not locked breaks."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def open_backend(model: Path, **options: Any) -> CudaBackend:
    return CudaBackend(model, SessionConfig("cuda", 1, cuda=CudaOptions(**options)))


def test_outputs_and_metadata_are_those_of_the_model(model: Path, graph_batch_sizes: tuple[int, ...]) -> None:
    backend = open_backend(model, graph_batch_sizes=graph_batch_sizes)
    plain = OnnxRuntimeBackend(model, SessionConfig("cpu", 1))
    assert (backend.device, backend.device_reason, backend.metadata["key"]) == ("cuda", "CUDA is available", "value")
    for size in (1, 2, 5, 2, 1):
        np.testing.assert_array_equal(backend.run(BATCH[:size]), plain.run(BATCH[:size]))


class TestWhatIsAskedOfTheProvider:
    def test_it_is_cuda_without_the_cpu_and_without_tf32(self, model: Path, cuda_on_cpu: Any) -> None:
        open_backend(model)
        (request,) = cuda_on_cpu.requests
        assert request.provider == "CUDAExecutionProvider"
        assert request.cpu_is_recorded or request.cpu_is_refused
        assert request.settings == {
            "device_id": "0",
            "use_tf32": "0",
            "cudnn_conv_algo_search": "HEURISTIC",
            "enable_cuda_graph": "0",
        }

    def test_tf32_is_on_when_asked_for_and_is_told(self, model: Path, cuda_on_cpu: Any) -> None:
        backend = open_backend(model, tf32=True)
        assert cuda_on_cpu.requests[0].settings["use_tf32"] == "1"
        assert backend.device_reason == "CUDA is available, with TF32"

    def test_another_gpu_is_named_by_its_index(self, model: Path, cuda_on_cpu: Any) -> None:
        backend = CudaBackend(model, SessionConfig("cuda", 1, gpu=1, cuda=CudaOptions(graph_batch_sizes=(1,))))
        assert backend.device == "cuda:1"
        backend.run(BATCH[:2])
        assert [request.settings["device_id"] for request in cuda_on_cpu.requests] == ["1", "1"]

    def test_a_limit_of_memory_reaches_every_session(self, model: Path, cuda_on_cpu: Any) -> None:
        backend = open_backend(model, memory_limit=10**9, graph_batch_sizes=(1,))
        backend.run(BATCH[:2])
        assert [request.settings["gpu_mem_limit"] for request in cuda_on_cpu.requests] == ["1000000000"] * 2

    def test_captured_batch_sizes_have_their_own_sessions(self, model: Path, cuda_on_cpu: Any) -> None:
        backend = open_backend(model, graph_batch_sizes=(1, 2))
        for size in (1, 2, 3, 4, 2, 1):
            backend.run(BATCH[:size])
        assert [request.settings["enable_cuda_graph"] for request in cuda_on_cpu.requests] == ["1", "1", "0"]


class TestConcurrency:
    def test_sixteen_threads_get_the_serial_answers(
        self, model: Path, graph_batch_sizes: tuple[int, ...], switch_often: None
    ) -> None:
        backend = open_backend(model, graph_batch_sizes=graph_batch_sizes)
        plain = OnnxRuntimeBackend(model, SessionConfig("cpu", 1))
        # Often the same size, so that threads want the same buffers; else more sizes than buffers are kept for.
        sizes = [4 if i % 4 else i // 4 % (KEPT_BATCH_SIZES + 3) + 1 for i in range(1600)]
        batches = [BATCH[i % 20 : i % 20 + size] for i, size in enumerate(sizes)]
        with ThreadPoolExecutor(16) as pool:
            outputs = list(pool.map(backend.run, batches))
        for output, batch in zip(outputs, batches, strict=True):
            np.testing.assert_array_equal(output, plain.run(batch))

    def test_one_thread_runs_every_captured_graph(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ran_in: list[int] = []
        run = BoundSession.run

        def noted(self: BoundSession, batch: Any) -> Any:
            ran_in.append(threading.get_ident())
            return run(self, batch)

        monkeypatch.setattr(BoundSession, "run", noted)
        backend = open_backend(model, graph_batch_sizes=(1, 2))
        for _ in range(3):
            backend.run(BATCH[:1])
        assert set(ran_in) == {threading.get_ident()}  # the only caller there is
        ran_in.clear()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(backend.run, [BATCH[: i % 3 + 1] for i in range(40)]))
        backend.run(BATCH[:1])
        assert len(ran_in) == 41
        assert len(set(ran_in)) == 1
        assert threading.get_ident() not in ran_in

    def test_a_thread_for_each_call_does_not_look_like_one(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Their numbers are reused; captured again in each, graphs would be neither fast nor ever freed."""
        ran_in: list[threading.Thread] = []
        run = BoundSession.run

        def noted(self: BoundSession, batch: Any) -> Any:
            ran_in.append(threading.current_thread())
            return run(self, batch)

        monkeypatch.setattr(BoundSession, "run", noted)
        backend = open_backend(model, graph_batch_sizes=(1,))
        for _ in range(20):
            caller = threading.Thread(target=backend.run, args=(BATCH[:1],))
            caller.start()
            caller.join()
        assert len(ran_in) == 20
        assert len({id(thread) for thread in ran_in[1:]}) == 1


class TestOutOfMemory:
    """Real exhaustion: the greedy model asks for more than there is as soon as the batch is too large."""

    def test_it_has_an_error_of_its_own(self, greedy_model: Path, graph_batch_sizes: tuple[int, ...]) -> None:
        with pytest.raises(OutOfMemoryError, match=r"batch of shape \[5, 3, 6, 8\]: .*Failed to allocate") as error:
            open_backend(greedy_model, graph_batch_sizes=graph_batch_sizes).run(GREEDY)
        assert error.value.exit_code == 5
        assert "smaller batch" in error.value.hint

    def test_the_next_request_works_on_a_new_session(
        self, greedy_model: Path, cuda_on_cpu: Any, graph_batch_sizes: tuple[int, ...]
    ) -> None:
        backend = open_backend(greedy_model, graph_batch_sizes=graph_batch_sizes)
        for _ in range(3):
            with pytest.raises(OutOfMemoryError):
                backend.run(GREEDY)
            before = len(cuda_on_cpu.sessions)
            np.testing.assert_allclose(backend.run(BATCH[:2]), BATCH[:2].mean(axis=(2, 3)), rtol=1e-5)
            assert len(cuda_on_cpu.sessions) == before + 1

    def test_the_device_is_free_while_the_error_is_still_handled(
        self, greedy_model: Path, cuda_on_cpu: Any, graph_batch_sizes: tuple[int, ...]
    ) -> None:
        backend = open_backend(greedy_model, graph_batch_sizes=graph_batch_sizes)
        backend.run(BATCH[:1])
        try:
            backend.run(GREEDY)
        except OutOfMemoryError:
            sessions = [weakref.ref(session) for session in cuda_on_cpu.sessions]
            cuda_on_cpu.sessions.clear()
            assert [session for session in sessions if session() is not None] == []
        else:
            pytest.fail("there was memory")

    def test_buffers_that_find_no_room_are_no_other_case(self, model: Path) -> None:
        backend = open_backend(model)
        with pytest.raises(OutOfMemoryError):
            backend.run(np.broadcast_to(np.float32(0), (2**40, 3, 6, 8)))
        assert backend.run(BATCH[:1]).shape == (1, 3)

    def test_it_may_last_until_the_session_is_to_be_opened_again(self, greedy_model: Path, cuda_on_cpu: Any) -> None:
        backend = open_backend(greedy_model)
        with pytest.raises(OutOfMemoryError):
            backend.run(GREEDY)
        cuda_on_cpu.raise_on_opening = [RuntimeError(OUT_OF_MEMORY)]
        with pytest.raises(OutOfMemoryError, match=r"the GPU has no memory for .*greedy\.onnx"):
            backend.run(BATCH[:1])
        assert backend.run(BATCH[:1]).shape == (1, 3)

    def test_threads_that_share_the_classifier_are_not_disturbed(self, greedy_model: Path) -> None:
        backend = open_backend(greedy_model)
        batches = [GREEDY if i % 10 == 0 else BATCH[i % 30 : i % 30 + i % 4 + 1] for i in range(200)]

        def run(batch: Any) -> Any:
            try:
                return backend.run(batch)
            except OutOfMemoryError:
                return None

        with ThreadPoolExecutor(16) as pool:
            outputs = list(pool.map(run, batches))
        for output, batch in zip(outputs, batches, strict=True):
            assert (output is None) == (batch is GREEDY)
            if output is not None:
                np.testing.assert_allclose(output, batch.mean(axis=(2, 3)), rtol=1e-5)


class TestOtherFailures:
    def test_failed_device_is_reopened_at_the_next_request(self, model: Path, cuda_on_cpu: Any) -> None:
        backend = open_backend(model)
        expected = backend.run(BATCH[:2])
        cuda_on_cpu.raise_on_running = [RuntimeError(LOST)]
        with pytest.raises(MissingCapabilityError, match="unspecified launch failure") as error:
            backend.run(BATCH[:2])
        assert not isinstance(error.value, OutOfMemoryError)
        np.testing.assert_array_equal(backend.run(BATCH[:2]), expected)
        assert len(cuda_on_cpu.sessions) == 2

    def test_a_device_that_is_gone_says_so_at_every_request(self, model: Path, cuda_on_cpu: Any) -> None:
        backend = open_backend(model)
        cuda_on_cpu.raise_on_running = [RuntimeError(LOST)]
        cuda_on_cpu.raise_on_opening = [RuntimeError("CUDA failure 100: no CUDA-capable device is detected")] * 2
        for message in ("unspecified launch failure", "no CUDA-capable device", "no CUDA-capable device"):
            with pytest.raises(MissingCapabilityError, match=message):
                backend.run(BATCH[:1])

    def test_a_batch_that_the_model_does_not_take_costs_no_session(self, model: Path, cuda_on_cpu: Any) -> None:
        backend = open_backend(model)
        with pytest.raises(BundleError, match="cannot run the model on a batch of shape"):
            backend.run(BATCH[:, :, :5])
        backend.run(BATCH[:1])
        assert len(cuda_on_cpu.sessions) == 1

    @pytest.mark.parametrize("content", [b"hello", b"\x08\x0a"])
    def test_a_broken_file_is_the_files_fault(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "broken.onnx").write_bytes(content)
        with pytest.raises(BundleError, match=r"onnxruntime cannot load .*broken\.onnx"):
            open_backend(tmp_path / "broken.onnx")

    def test_operators_that_cuda_lacks_are_named(self, model: Path, cuda_on_cpu: Any) -> None:
        cuda_on_cpu.operators_on_cpu = {"Squeeze", "MatMulInteger", "DynamicQuantizeLinear"}
        with pytest.raises(
            MissingCapabilityError, match=r"the CPU only: DynamicQuantizeLinear, MatMulInteger\."
        ) as error:
            open_backend(model)
        session = weakref.ref(cuda_on_cpu.sessions.pop())
        assert session() is None, f"{error.value!r} is kept, and the device's memory with it"
        cuda_on_cpu.operators_on_cpu = {"Concat", "Squeeze"}  # of shapes, which belong there
        assert open_backend(model).run(BATCH[:1]).shape == (1, 3)

    def test_releases_that_do_not_tell_refuse_the_cpu(
        self, model: Path, cuda_on_cpu: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(onnxruntime_cuda, "_can_tell_providers", lambda: False)
        open_backend(model)
        (request,) = cuda_on_cpu.requests
        assert (request.cpu_is_refused, request.cpu_is_recorded) == (True, False)

    @pytest.mark.skipif(
        not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"), reason="from 1.24 on"
    )
    def test_it_is_known_what_runs_on_the_cpu(self, model: Path) -> None:
        options = session_options(SessionConfig("cpu", 1))
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        session = create_session(model, options, "CPUExecutionProvider")
        assert operators_on_cpu(session) == {node.op_type for node in onnx.load(model).graph.node}

    def test_operators_cuda_lacks_are_told_from_missing_device(self, model: Path, cuda_on_cpu: Any) -> None:
        options = session_options(SessionConfig("cuda", 1))
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        with pytest.raises(Exception, match="CPU EP") as raised:
            onnxruntime.InferenceSession(str(model), options, providers=[], enable_fallback=0)
        cuda_on_cpu.raise_on_opening = [raised.value]
        with pytest.raises(MissingCapabilityError, match="onnxruntime supports on the CPU only") as error:
            open_backend(model)
        assert "onnx-fp16" in error.value.hint
        # As onnxruntime-gpu 1.31.1 words it where a graph is to be captured.
        cuda_on_cpu.raise_on_opening = [
            RuntimeError(
                "This session cannot use the graph capture feature as requested by the user  as all compute graph "
                "nodes have not been partitioned to the CUDAExecutionProvider"
            )
        ]
        with pytest.raises(MissingCapabilityError, match="onnxruntime supports on the CPU only"):
            open_backend(model, graph_batch_sizes=(1,))

    def test_quantized_constants_become_floats_at_loading(self, model: Path, cuda_on_cpu: Any) -> None:
        open_backend(model)
        assert cuda_on_cpu.requests[0].quantization_is_folded
