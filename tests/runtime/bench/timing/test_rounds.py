from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import pytest

from vgg_bench.cases import WORKER
from vgg_bench.timing import rounds
from vgg_bench.timing.process import Failure, Turn
from vgg_bench.timing.rounds import Schedule, turns

TINY = Schedule(rounds=4, seconds=0, min_calls=2, max_calls=2, starts=2)
ONE_CALL = Schedule(rounds=1, seconds=0, min_calls=1)


def worker(code: str) -> list[str]:
    """The command of a process that runs ``code`` with the worker's ``serve`` at hand."""
    return [sys.executable, "-c", f"import os, sys\nfrom vgg_bench.timing.serve import serve\n{code}"]


def logging(log: Path, *names: str) -> dict[str, list[str]]:
    """Workers that write their name and process down when they start."""
    code = "open({log!r}, 'a').write(f'{name} {{os.getpid()}}\\n'); serve(lambda: None)"
    return {name: worker(code.format(log=str(log), name=name)) for name in names}


def test_subjects_take_turns_and_every_other_round_reverses(tmp_path: Path) -> None:
    outcomes = list(turns(logging(tmp_path / "log", "a", "b", "c"), TINY))
    assert [name for name, _ in outcomes] == [*"abc", *"cba", *"abc", *"cba"]
    assert {len(turn.latencies) for _, turn in outcomes if isinstance(turn, Turn)} == {2}
    assert all(latency > 0 for _, turn in outcomes if isinstance(turn, Turn) for latency in turn.latencies)


def test_a_subject_is_started_anew_as_often_as_asked_then_kept(tmp_path: Path) -> None:
    outcomes = list(turns(logging(tmp_path / "log", "a", "b"), TINY))
    assert [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()] == ["a", "b", "b", "a"]
    starts = [turn.start for _, turn in outcomes if isinstance(turn, Turn)]
    assert [start is not None for start in starts] == [True] * 4 + [False] * 4
    assert all(start.cold_start_s > start.load_s == 0 for start in starts[:4] if start is not None)


def test_without_memory_for_all_no_process_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "available_share", lambda: 0.2)
    list(turns(logging(tmp_path / "log", "a"), TINY))
    assert len(set((tmp_path / "log").read_text().splitlines())) == 4


@pytest.mark.parametrize(("device", "processes"), [("cuda", 4), ("cpu", 2)])
def test_without_memory_on_the_gpu_no_process_on_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, processes: int
) -> None:
    monkeypatch.setattr(rounds.nvml, "free_share", lambda: 0.2)
    subjects = {name: [*command, "--device", device] for name, command in logging(tmp_path / "log", "a").items()}
    list(turns(subjects, TINY))
    assert len(set((tmp_path / "log").read_text().splitlines())) == processes


def test_closing_ends_every_process(tmp_path: Path) -> None:
    outcomes = turns(logging(tmp_path / "log", "a", "b"), Schedule(rounds=9, seconds=0, min_calls=1))
    for _ in range(3):
        next(outcomes)
    outcomes.close()
    for line in (tmp_path / "log").read_text().splitlines():
        with pytest.raises(ProcessLookupError):
            os.kill(int(line.split()[1]), 0)


def test_ctrl_c_in_the_terminal_reaches_no_worker(tmp_path: Path) -> None:
    log = tmp_path / "group"
    subject = worker(f"open({str(log)!r}, 'w').write(str(os.getpgrp())); serve(lambda: None)")
    list(turns({"a": subject}, ONE_CALL))
    assert int(log.read_text()) != os.getpgrp()


def test_a_turn_takes_the_time_it_was_given() -> None:
    schedule = Schedule(rounds=1, seconds=0.001, min_calls=1)
    ((_, turn),) = turns({"a": worker("serve(lambda: None)")}, schedule)
    assert isinstance(turn, Turn)
    assert len(turn.latencies) == schedule.max_calls or math.fsum(turn.latencies) >= 0.00099


FAILING = {
    "at the start": ("raise SystemExit('the disk melted')", "the disk melted", 1),
    "by an error of ours": ("sys.stderr.write('no CUDA'); sys.exit(5)", "no CUDA", 5),
    "in its first call": ("serve(lambda: 1 / 0)", "ZeroDivisionError: division by zero", 1),
    "while it is timed": ("serve(iter([None] * 9).__next__)", "StopIteration", 1),
    "after much noise": ("print('x' * 10**6, file=sys.stderr); sys.exit('melted')", "melted", 1),
    "without a word": ("", "its process exited with code 0 and no message", 1),
    "by the system": ("os.kill(os.getpid(), 9)", "its process was ended by signal 9", 5),
}


@pytest.mark.parametrize(("code", "message", "exit_code"), FAILING.values(), ids=FAILING)
def test_failing_subject_gives_its_reason_and_others_go_on(code: str, message: str, exit_code: int) -> None:
    subjects = {"bad": worker(code), "good": worker("serve(lambda: None)")}
    outcomes = list(turns(subjects, TINY))
    assert [turn for name, turn in outcomes if name == "bad"] == [Failure(message, exit_code)]
    assert [name for name, turn in outcomes if isinstance(turn, Turn)] == ["good"] * 4


def test_what_lies_in_the_current_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_bundle
) -> None:
    bundle = make_bundle()
    monkeypatch.chdir(tmp_path)
    for name in ("numpy", "json", "click", "vgg_runtime"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('what lies beside a checkpoint is not imported')")
    command = [*WORKER, str(bundle), "--variant", "onnx-fp32", "--threads", "1", "--batch-size", "2"]
    ((_, turn),) = turns({"a": command}, ONE_CALL)
    assert isinstance(turn, Turn)
    assert len(turn.latencies) == 1
