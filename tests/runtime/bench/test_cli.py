from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vgg_bench.results import Results
from vgg_runtime.errors import UsageError

# What a run of the command does before it measures: the peaks of the machine take longer than all the rest.
COMMAND = """
import sys
from vgg_bench import cli, runner
from vgg_bench.measurement.peaks import Peaks
runner.measure_peaks = lambda threads: Peaks(100.0, 10.0)
{patch}
cli.main()
"""

# As Ctrl-C in a terminal does, to every process of the group at once, while the third turn is under way.
INTERRUPTED_IN_THE_THIRD_TURN = """
import itertools, os, signal
from vgg_bench.timing.process import Worker
count, turn = itertools.count(1), Worker.turn
def interrupted(self, **budget):
    if next(count) == 3:
        os.killpg(0, signal.SIGINT)
    return turn(self, **budget)
Worker.turn = interrupted
"""

ONE = ("--backend", "onnxruntime", "--threads", "1", "--quick")


def bench(*arguments: object, patch: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", COMMAND.format(patch=patch), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", start_new_session=True)


def parsed(text: str) -> Results:
    return Results.parse(text, source="stdout")


def test_it_prints_the_table_and_writes_both_files(bundle: Path, tmp_path: Path) -> None:
    done = bench(bundle, *ONE, "--json", tmp_path / "a.json", "--html", tmp_path / "a.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert "onnx-fp32" in done.stdout
    assert parsed((tmp_path / "a.json").read_text()).rows[0].latency is not None
    assert "onnx-fp32" in (tmp_path / "a.html").read_text(encoding="utf-8")
    compared = bench("--compare", tmp_path / "a.json", tmp_path / "a.json")
    assert (compared.returncode, compared.stderr) == (0, "")
    assert "a.json" in compared.stdout


def test_json_on_stdout_is_alone_there(bundle: Path) -> None:
    done = bench(bundle, *ONE, "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert [row.subject.variant for row in parsed(done.stdout).rows] == ["onnx-fp32"]


def test_what_was_measured_before_ctrl_c_is_written(make_bundle, tmp_path: Path) -> None:
    bundle = make_bundle(weights={"onnx-fp32": 10.0, "onnx-fp16": 10.0, "onnx-int8-static": 10.0})
    done = bench(bundle, *ONE, "--json", tmp_path / "a.json", patch=INTERRUPTED_IN_THE_THIRD_TURN)
    assert done.returncode == 130
    assert done.stderr == "interrupted; the measurements so far are kept.\n"
    results = parsed((tmp_path / "a.json").read_text())
    assert not results.method.finished
    assert [len(row.rounds) for row in results.rows] == [1, 1, 0]
    assert "onnx-fp16" in done.stdout


def test_failure_gives_its_exit_code_and_others_are_measured(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "lone.onnx").write_text("no model")
    done = bench(bundle, *ONE, "--also", f"lone={tmp_path / 'lone.onnx'}", "--json", "-")
    assert done.returncode == 3
    good, bad = parsed(done.stdout).rows
    assert good.latency is not None
    assert bad.failure is not None
    assert "onnxruntime cannot load" in bad.failure


def test_unmet_constraint_is_told_after_the_table(bundle: Path, tmp_path: Path) -> None:
    done = bench(bundle, *ONE, "--json", tmp_path / "a.json", "--max-size-mb", "0.00001")
    assert done.returncode == 4
    assert "The nearest is onnx-fp32 / onnxruntime" in done.stderr
    assert "onnx-fp32" in done.stdout
    assert parsed((tmp_path / "a.json").read_text()).method.finished


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "give a BUNDLE"),
        (("BUNDLE", "--json", "-", "--html", "-"), 2, "cannot both go to stdout"),
        (("BUNDLE", "--json", "nowhere/a.json"), 2, "cannot be written"),
        (("BUNDLE", "--html", "."), 2, "cannot be written"),
        (("BUNDLE", "--min-agreement", "2"), 2, "a share from 0 to 1"),
        (("BUNDLE", "--also", "lone"), 2, "is not NAME=FILE"),
        (("BUNDLE", "--also", "onnx-fp32=FILE"), 2, "onnx-fp32 is the name of a variant"),
        (("BUNDLE", "--backend", "tensorrt"), 2, "unknown backend tensorrt"),
        (("BUNDLE", "--samples", "nowhere"), 2, "there is no folder nowhere"),
        (("nowhere.bundle",), 3, "there is no bundle"),
        (("BUNDLE", "--compare", "a.json", "b.json"), 2, "leave out BUNDLE"),
        (("--compare", "a.json", "b.json"), 2, "a.json cannot be read"),
        (("--compare", "FILE", "FILE"), 2, "does not contain results of vgg-bench"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(
    bundle: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    names = {"BUNDLE": str(bundle), "FILE": str(bundle / "bundle.json")}
    given = [names.get(word, word.replace("FILE", names["FILE"])) for word in arguments]
    done = bench(*given, patch="cli._run = lambda *_: sys.exit('it measures')")
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "it measures" not in done.stderr


def test_without_rich_only_files_can_be_written(bundle: Path) -> None:
    hidden = "cli.find_spec = lambda name: None"
    refused = bench(bundle, *ONE, patch=hidden)
    assert (refused.returncode, refused.stdout) == (5, "")
    assert "the table needs rich" in refused.stderr
    written = bench(
        bundle, *ONE, "--json", "-", patch=hidden + "; sys.modules['rich'] = None; sys.modules['psutil'] = None"
    )
    assert (written.returncode, written.stderr) == (0, "")
    assert parsed(written.stdout).rows[0].latency is not None


def test_the_schema_refuses_another_version() -> None:
    with pytest.raises(UsageError, match="does not contain results of vgg-bench"):
        Results.parse(json.dumps({"schema_version": 2}), source="a.json")
