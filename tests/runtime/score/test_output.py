from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vgg_runtime.errors import MissingCapabilityError, UsageError
from vgg_score.formats import FORMATS
from vgg_score.output import RunMetadata, opened_directory
from vgg_score.rows import columns

RUN = RunMetadata("0" * 64, "onnx-fp32", 1, "jsonl", shard_size=2, images=3, shards=2, source_sha256="f" * 64)


def some_row(id_: str, **values: Any) -> Mapping[str, Any]:
    return dict.fromkeys(columns(1)) | {"id": id_} | values


ROWS = [
    some_row("a\n\"'é,.png", label_1="red, or\nlime", index_1=2, probability_1=1 / 3),
    some_row("b.png", error="there is no file b.png."),
]


@pytest.mark.parametrize("name", FORMATS)
def test_format_counts_the_errors_it_wrote(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pyarrow")
    FORMATS[name].write(tmp_path / "file", [*ROWS, ROWS[0], ROWS[1]], columns(1), {})
    assert FORMATS[name].count_errors(tmp_path / "file") == 2


def test_formats_hold_the_same_rows(tmp_path: Path) -> None:
    csv, pq = pytest.importorskip("pyarrow.csv"), pytest.importorskip("pyarrow.parquet")
    for name, format_ in FORMATS.items():
        format_.write(tmp_path / name, ROWS, columns(1), {"vgg_deploy.variant": "onnx-fp32"})
    assert [json.loads(line) for line in (tmp_path / "jsonl").read_text("utf-8").splitlines()] == ROWS
    table = pq.read_table(tmp_path / "parquet")
    assert table.to_pylist() == ROWS
    assert table.schema.metadata[b"vgg_deploy.variant"] == b"onnx-fp32"
    parsed = csv.read_csv(
        tmp_path / "csv",
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    )
    assert parsed.to_pylist() == ROWS


def test_shard_is_there_once_it_was_written(tmp_path: Path) -> None:
    with opened_directory(tmp_path / "new" / "out", RUN, resume=False) as shards:
        assert shards.present() == set()
        shards.write(1, ROWS, ranks=1)
        assert shards.present() == {1}
        assert shards.count_errors(1) == 1
    assert sorted(file.name for file in (tmp_path / "new" / "out").iterdir()) == ["_metadata.json", "part-000001.jsonl"]
    assert json.loads((tmp_path / "new" / "out" / "_metadata.json").read_text())["variant"] == "onnx-fp32"


def test_shard_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with opened_directory(tmp_path / "out", RUN, resume=False) as shards, pytest.raises(TypeError):
        shards.write(0, [some_row("a", label_1=object())], ranks=1)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["_metadata.json"]


def test_earlier_predictions_need_resume(tmp_path: Path) -> None:
    with opened_directory(tmp_path, RUN, resume=False):
        pass
    with pytest.raises(UsageError, match="holds predictions") as refused, opened_directory(tmp_path, RUN, resume=False):
        pass
    assert "`resume=True`" in refused.value.hint
    with opened_directory(tmp_path, RUN, resume=True) as shards:
        assert shards.present() == set()


@pytest.mark.parametrize("resume", [False, True])
def test_directory_of_other_files_is_refused(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "film.mkv.part").write_text("half a film")
    with (
        pytest.raises(UsageError, match=r"has files, but no _metadata\.json"),
        opened_directory(tmp_path, RUN, resume=resume),
    ):
        pass
    assert (tmp_path / "film.mkv.part").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_directory_of_a_run_that_never_began_is_fine(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "_metadata.0123456789abcdef.part").write_text('{"bundle')
    with opened_directory(tmp_path, RUN, resume=resume):
        assert [file.name for file in tmp_path.iterdir()] == ["_metadata.json"]


def test_resume_removes_unfinished_shards_alone(tmp_path: Path) -> None:
    with opened_directory(tmp_path, RUN, resume=False) as shards:
        shards.write(0, ROWS, ranks=1)
    for name in ("part-000001.0123456789abcdef.part", "notes.part"):
        (tmp_path / name).write_text("half")
    with opened_directory(tmp_path, RUN, resume=True):
        names = {file.name for file in tmp_path.iterdir()}
    assert names == {"_metadata.json", "part-000000.jsonl", "notes.part"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bundle_sha256": "1" * 64}, "the SHA-256 of the bundle's manifest was 000000000000, is 111111111111."),
        ({"variant": "onnx-fp16"}, "`variant` was onnx-fp32, is onnx-fp16."),
        ({"top_k": 2}, "`top_k` was 1, is 2."),
        ({"format": "csv"}, "`format` was jsonl, is csv."),
        ({"shard_size": 3, "shards": 1}, "`shard_size` was 2, is 3; the number of shards was 2, is 1."),
        ({"images": 4}, "the number of images was 3, is 4."),
        ({"source_sha256": "e" * 64}, "the SHA-256 of the list of images was ffffffffffff, is eeeeeeeeeeee."),
    ],
)
def test_resume_of_another_run_says_what_differs(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with opened_directory(tmp_path, RUN, resume=False):
        pass
    with pytest.raises(UsageError) as refused, opened_directory(tmp_path, replace(RUN, **change), resume=True):
        pass
    assert refused.value.message.endswith(f"holds predictions of another run: {message}")


def test_unreadable_metadata_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_metadata.json").write_text('{"variant": 1}')
    with (
        pytest.raises(UsageError, match="is not in the form that this release writes"),
        opened_directory(tmp_path, RUN, resume=True),
    ):
        pass


def test_second_process_on_one_directory_is_refused(tmp_path: Path) -> None:
    with (
        opened_directory(tmp_path, RUN, resume=False),
        pytest.raises(UsageError, match="another process is writing predictions"),
        opened_directory(tmp_path, RUN, resume=True),
    ):
        pass
    with opened_directory(tmp_path, RUN, resume=True):
        pass


def test_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with (
        pytest.raises(MissingCapabilityError, match=r"predictions cannot be written to .*out: File exists"),
        opened_directory(tmp_path / "out", RUN, resume=False),
    ):
        pass
