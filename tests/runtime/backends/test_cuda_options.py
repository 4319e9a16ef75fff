from __future__ import annotations

import re
from typing import Any

import pytest

from vgg_runtime import CudaOptions
from vgg_runtime.errors import UsageError


def test_nothing_is_asked_of_cuda_unless_it_is_said() -> None:
    assert CudaOptions() == CudaOptions(tf32=False, graph_batch_sizes=(), memory_limit=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph_batch_sizes": (1, 0)}, "`graph_batch_sizes` must all be >= 1, got [1, 0]"),
        ({"memory_limit": 0}, "`memory_limit` must be a number of bytes >= 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        CudaOptions(**options)
