from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.io_binding import KEPT_BATCH_SIZES, BoundSession
from vgg_runtime.backends.onnxruntime_cpu import OnnxRuntimeBackend, create_session, session_options
from vgg_runtime.errors import BundleError

BATCH = np.random.default_rng(0).random((32, 3, 6, 8), dtype=np.float32)
CPU = SessionConfig("cpu", 1)


@pytest.fixture
def session(model: Path) -> BoundSession:
    return BoundSession(create_session(model, session_options(CPU), "CPUExecutionProvider"), "cpu")


def addresses(session: BoundSession) -> dict[int, tuple[int, int]]:
    return {size: (each.input.data_ptr(), each.output.data_ptr()) for size, each in session._buffers.items()}


def test_outputs_are_those_of_a_plain_run_to_the_bit(session: BoundSession, model: Path) -> None:
    plain = OnnxRuntimeBackend(model, CPU)
    for start, size in ((0, 1), (3, 5), (7, 1), (8, 2), (10, 5)):
        batch = BATCH[start : start + size]
        np.testing.assert_array_equal(session.run(batch), plain.run(batch))


def test_an_answer_stays_as_it_is_when_the_next_is_computed(session: BoundSession) -> None:
    first = session.run(BATCH[:2])
    before = first.copy()
    assert not np.array_equal(session.run(BATCH[2:4]), before)
    np.testing.assert_array_equal(first, before)


def test_a_batch_size_keeps_its_buffers(session: BoundSession) -> None:
    session.run(BATCH[:2])
    first = addresses(session)
    session.run(BATCH[:3])
    session.run(BATCH[4:6])
    assert addresses(session)[2] == first[2]
    assert len({*addresses(session)[2], *addresses(session)[3]}) == 4


def test_least_recently_used_buffers_go(session: BoundSession) -> None:
    for size in range(1, KEPT_BATCH_SIZES + 1):
        session.run(BATCH[:size])
    session.run(BATCH[:1])
    session.run(BATCH[: KEPT_BATCH_SIZES + 1])
    assert sorted(session._buffers) == [1, *range(3, KEPT_BATCH_SIZES + 2)]


@pytest.mark.parametrize(
    "batch", [BATCH[:, :, :5], BATCH[:, :2], BATCH.astype(np.float64), BATCH[0], np.zeros((1, 3, 6, 8), np.uint8)]
)
def test_wrong_batch_is_refused_before_it_has_buffers(session: BoundSession, batch: Any) -> None:
    with pytest.raises(BundleError, match=r"it takes tensor\(float\) of shape \['batch', 3, 6, 8\]"):
        session.run(batch)
    assert not session._buffers


FORK = """
import os, sys, weakref
from pathlib import Path
from vgg_runtime.backends.base import SessionConfig
from vgg_runtime.backends.io_binding import BoundSession
from vgg_runtime.backends.onnxruntime_cpu import create_session, session_options
options = session_options(SessionConfig("cpu", 1))
session = BoundSession(create_session(Path(sys.argv[1]), options, "CPUExecutionProvider"), "cpu")
alive = weakref.ref(session)
child = os.fork()
del session
if not child:
    os._exit(7 if alive() is not None else 1)
assert alive() is None
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_leaves_the_parents_buffers_alone(model: Path) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_exporter_wrote_into_the_file_is_there(session: BoundSession) -> None:
    assert session.metadata["key"] == "value"
