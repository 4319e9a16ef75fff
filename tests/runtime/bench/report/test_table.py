from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from vgg_bench.analysis.selection import best
from vgg_bench.report.table import show
from vgg_bench.results import Estimate, Results
from vgg_runtime.errors import MissingCapabilityError


def printed(results: Results, width: int, *, terminal: bool = False, choose: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system="standard" if terminal else None)
    show(results, console, choice=best(results) if choose else None)
    return file.getvalue()


def tables(text: str) -> list[list[str]]:
    """The lines of each table: what comes before the first empty line after it."""
    blocks = [block.splitlines() for block in text.split("\n\n")]
    return [[line.rstrip() for line in block] for block in blocks if block[0].startswith("variant")]


@pytest.mark.parametrize(("width", "parts"), [(60, 5), (80, 3), (160, 1)])
def test_it_fits_the_width_by_more_tables_and_cuts_no_name(make_results, width: int, parts: int) -> None:
    results = make_results()
    pieces = tables(printed(results, width))
    assert len(pieces) == parts
    for table in pieces:
        assert max(map(len, table)) <= width
        assert len(table) == 1 + len(results.rows)
        assert {line.split()[0] for line in table[1:]} == {row.subject.variant for row in results.rows}


def test_what_it_tells_of_a_row(make_results) -> None:
    (table,) = tables(printed(make_results(), 160))
    assert table[0].split("  ")[0] == "variant"
    row = next(line for line in table if line.startswith("onnx-int8-static   onnxruntime"))
    cells = row.split()
    assert cells[2] == "138"
    assert " ".join(cells[3:5]).startswith("41.5 (41.4-41.")
    assert {"98.5%", "386", "58%"} <= set(cells)
    assert row.endswith("recommended")


def test_settings_are_columns_where_they_differ(make_results) -> None:
    text = printed(make_results(settings=((1, 2), (8, 2))), 80)
    pieces = tables(text)
    assert len(pieces) > 1
    for table in pieces:  # or their rows could not be told apart
        assert table[0].split()[2] == "batch"
        assert len({" ".join(line.split()[:3]) for line in table[1:]}) == len(table) - 1
    assert "Batch 1" not in text


def test_a_pipe_gets_no_colours_and_a_terminal_does(make_results) -> None:
    assert "\x1b" not in printed(make_results(), 80, choose=True)
    assert "\x1b[1;32m" in printed(make_results(), 80, terminal=True)


def test_failures_absences_noise_and_interruption_are_told(make_results) -> None:
    results = make_results(failures={("onnx-fp16", "onnxruntime-cuda"): "the session gave [red]no[/red] device"})
    text = printed(replace(results, method=replace(results.method, finished=False)), 80)
    assert "Failed: onnx-fp16 / onnxruntime-cuda / batch 1 / 2 threads: the session gave [red]no[/red] device\n" in text
    assert "Absent: onnxruntime-cuda: no NVIDIA GPU was found\n" in text
    assert "Noise: the same thing measured again differed by 1.0% in this run.\n" in text
    assert "interrupted" in text


def test_dominated_is_explained_where_a_row_is(make_results) -> None:
    text = printed(make_results(), 80)
    assert "Dominated: another row of the same batch size and threads is better in size, latency or agreement" in text
    assert "  onnx-int8-dynamic on onnxruntime by onnx-int8-weights on onnxruntime\n" in text
    text = printed(make_results(settings=((1, 2), (8, 2))), 80)
    for batch in (1, 8):
        ending = f"onnx-int8-dynamic on onnxruntime by onnx-int8-weights on onnxruntime at batch {batch}, threads 2\n"
        assert ending in text
    assert "Dominated" not in printed(make_results(subjects=(("onnx-fp32", "onnxruntime"),)), 80)


def test_the_baseline_is_named(make_results) -> None:
    sentence = "Ratios are relative to onnx-fp32 on onnxruntime at the same batch size and threads."
    assert sentence in printed(make_results(), 80)
    assert sentence not in printed(make_results(subjects=(("onnx-fp16", "onnxruntime"),)), 80)


def test_a_lone_round_is_marked(make_results) -> None:
    results = make_results(subjects=(("onnx-fp32", "onnxruntime"),))
    row = results.rows[0]
    lone = replace(row, latency=replace(row.latency, p50=Estimate(150.0, None, None)), ratio=Estimate(1.0, None, None))
    text = printed(replace(results, rows=(lone,)), 160)
    assert "150 (no interval)" in text
    assert "No interval: one round says nothing about how rounds differ" in text
    assert "No interval" not in printed(results, 160)


def test_what_stands_in_brackets_is_no_markup(make_results) -> None:
    results = make_results(subjects=(("onnx-fp32", "onnxruntime"),))
    subject = replace(results.rows[0].subject, variant="[red]a[/red]")
    assert "[red]a[/red]" in printed(replace(results, rows=(replace(results.rows[0], subject=subject),)), 80)


def test_nothing_in_the_results_controls_the_terminal(make_results) -> None:
    results = make_results(bundle="a\x1b[2J.bundle", failures={("b\x1b[2J", "onnxruntime"): "c\x1b[2J"})
    subject = replace(results.rows[0].subject, variant="d\x1b[2J\u202e")
    text = printed(replace(results, rows=(replace(results.rows[0], subject=subject), *results.rows[1:])), 160)
    assert not {"\x1b", "\u202e"} & set(text)
    for letter in "abcd":
        assert rf"{letter}\x1b[2J" in text


def test_the_line_that_uses_the_best_stays_one_line(make_results) -> None:
    lines = printed(make_results(), 40, choose=True).splitlines()
    assert lines[-2].startswith("  vgg-run predict vgg16.bundle IMAGE")
    assert lines[-2].endswith("--threads 2")


def test_a_run_in_which_all_failed(make_results) -> None:
    results = make_results(subjects=(), failures={("onnx-fp32", "onnxruntime"): "no memory"})
    text = printed(results, 80)
    assert not tables(text)
    assert "no memory" in text


def test_without_rich(make_results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.text", None)
    with pytest.raises(MissingCapabilityError) as missing:
        show(make_results(), Console())
    assert missing.value.hint == 'pip install "vgg-deploy[report]"'
