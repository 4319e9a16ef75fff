from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from vgg_runtime.benchmark.rounds import Ratio, Timings, bundle_subject, measure
from vgg_runtime.errors import VggDeployError


def worker(code: str) -> list[str]:
    """The command of a process that runs ``code`` with the worker's ``serve`` at hand."""
    return [sys.executable, "-c", f"from vgg_runtime.benchmark.worker import serve\n{code}"]


def test_every_subject_has_its_turn_in_every_round(tmp_path: Path) -> None:
    log = tmp_path / "log"
    call = "serve(lambda: open({log!r}, 'a').write({name!r}))"
    subjects = {name: worker(call.format(log=str(log), name=name)) for name in ("a", "b")}
    begun: list[int] = []
    found = measure(subjects, rounds=3, seconds=0, least=2, on_round=begun.append)
    assert begun == [0, 1, 2]
    assert {name: [len(latencies) for latencies in rounds] for name, rounds in found.rounds.items()} == {
        "a": [2, 2, 2],
        "b": [2, 2, 2],
    }
    assert all(latency > 0 for rounds in found.rounds.values() for latencies in rounds for latency in latencies)
    # Three calls to warm up, one before each turn, two that count; every other round goes backwards.
    assert log.read_text() == "aaabbb" + "aaabbb" + "bbbaaa" + "aaabbb"


def test_a_turn_takes_the_time_it_was_given() -> None:
    found = measure({"a": worker("serve(lambda: None)")}, rounds=1, seconds=0.02, least=1)
    (latencies,) = found.rounds["a"]
    assert math.fsum(latencies) >= 0.0199
    assert math.fsum(latencies[:-1]) < 0.0201


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit('the disk melted')",
        "serve(lambda: 1 / 0)",
        "import json; serve(iter([None] * 4).__next__)",
        "import sys; print('{}', flush=True); print('noise\\nthe disk melted', file=sys.stderr); sys.exit()",
    ],
    ids=["at the start", "while warming up", "while it is timed", "before it is asked"],
)
def test_a_worker_that_fails_is_named_with_its_last_line(code: str) -> None:
    subjects = {"good": worker("serve(lambda: None)"), "bad": worker(code)}
    with pytest.raises(VggDeployError) as failed:
        measure(subjects, rounds=2, seconds=0, least=1)
    last_line = failed.value.message.removeprefix("the process that measures bad failed: ")
    assert last_line in ("the disk melted", "ZeroDivisionError: division by zero", "StopIteration")


def test_a_worker_that_dies_without_a_word() -> None:
    with pytest.raises(VggDeployError, match="the process that measures a failed: no output"):
        measure({"a": [sys.executable, "-c", ""]})


def test_what_lies_in_the_current_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_bundle
) -> None:
    bundle = make_bundle()
    monkeypatch.chdir(tmp_path)
    for name in ("numpy", "json", "click", "vgg_runtime"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('what lies beside a checkpoint is not imported')")
    command = bundle_subject(bundle, "onnx-fp32", threads=1, batch_size=2)
    assert len(measure({"a": command}, rounds=1, seconds=0, least=1).rounds["a"][0]) == 1


def test_latencies_and_ratios() -> None:
    timings = Timings({"fast": [[1, 1, 9], [2], [3, 3]], "slow": [[3, 3, 3], [4], [12, 12]]})
    assert timings.latency("fast") == 2
    assert timings.latency("slow") == 4
    assert timings.ratio("slow", "fast") == Ratio(3, 2, 4)
    assert timings.ratio("fast", "fast") == Ratio(1, 1, 1)
