"""``vgg-run score`` as its users have it: a process, its two streams and its exit code."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from vgg_run.cli import main; main()", "score"]


def vgg_run_score(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, *map(str, arguments), "--device", "cpu"], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def rows(output: Path) -> list[dict[str, str]]:
    return [row for file in sorted(output.glob("*.csv")) for row in csv.DictReader(file.read_text().splitlines())]


def test_score_writes_shards_and_says_what(bundle: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = vgg_run_score(bundle, photos, photos / "red.png", "-o", output, "--format", "csv", "--shard-size", "3")
    assert done.stderr == "variant: onnx-fp32 (default)\n"
    assert done.stdout.startswith(f"{output}: 4 images, in 2 shards; ")
    assert done.stdout.endswith(" images/s\n")
    assert [(Path(row["id"]).stem, row["label_1"]) for row in rows(output)] == [
        (colour, colour) for colour in ("blue", "lime", "red", "red")
    ]


def test_parquet_is_the_default_and_holds_metadata(bundle: Path, photos: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    vgg_run_score(bundle, photos, "-o", tmp_path / "out", "--top-k", "1")
    table = pq.read_table(tmp_path / "out")
    assert table.column_names == ["id", "label_1", "index_1", "probability_1", "error"]
    assert table["label_1"].to_pylist() == ["blue", "lime", "red"]
    assert table.schema.metadata[b"vgg_deploy.variant"] == b"onnx-fp32"
    assert len(table.schema.metadata[b"vgg_deploy.bundle_sha256"]) == 64


def test_refused_image_is_exit_code_3_and_json_counts_it(bundle: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "notes.jpg").write_text("hello")
    done = vgg_run_score(bundle, photos, "-o", tmp_path / "out", "--format", "csv", "--json", code=3)
    summary = json.loads(done.stdout)
    assert summary.pop("seconds") > 0
    assert summary == {
        "output": str(tmp_path / "out"),
        "variant": "onnx-fp32",
        "variant_reason": "default",
        "images": 4,
        "errors": 1,
        "shards": 1,
        "scored": 4,
    }
    assert done.stderr == ""


def test_messages_name_flags(bundle: Path, photos: Path, tmp_path: Path) -> None:
    vgg_run_score(bundle, photos, "-o", tmp_path / "out", "--format", "csv")
    again = vgg_run_score(bundle, photos, "-o", tmp_path / "out", "--format", "csv", code=2)
    assert "Give --resume to go on with that run, or another path to --output." in again.stderr
    other = vgg_run_score(bundle, photos, "-o", tmp_path / "out", "--format", "csv", "--top-k", "1", "--resume", code=2)
    assert "--top-k was 5, is 1." in other.stderr
    done = vgg_run_score(bundle, photos, "-o", tmp_path / "out", "--format", "csv", "--resume")
    assert done.stdout == f"{tmp_path / 'out'}: 3 images, in 1 shard; 0 in this run\n"


def test_missing_source_is_exit_code_3(bundle: Path, tmp_path: Path) -> None:
    done = vgg_run_score(bundle, tmp_path / "none", "-o", tmp_path / "out", "--format", "csv", code=3)
    assert done.stderr == f"error: there is no file or folder {tmp_path / 'none'}.\n"
    assert not (tmp_path / "out").exists()


def test_parquet_without_pyarrow_is_exit_code_5(bundle: Path, photos: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['pyarrow'] = None; from vgg_run.cli import main; main()"
    command = [sys.executable, "-c", code, "score", bundle, photos, "-o", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 5
    assert 'pip install "vgg-deploy[score]", or write another --format: jsonl or csv.' in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a process group and terminals are POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_resumes_and_shows_a_bar(
    bundle: Path, photos: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "list.txt").write_text(f"{photos / 'red.png'}\n" * 2000)
    arguments = [bundle, tmp_path / "list.txt", "-o", tmp_path / "out", "--format", "csv", "--shard-size", "10"]
    command = [*COMMAND, *map(str, arguments), "--device", "cpu", "--resume", "--batch-size", "1"]
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(command, stderr=other_end, stdout=subprocess.PIPE, text=True)
    os.close(other_end)
    shown = b""
    while b"/s, 0:" not in shown:  # the bar has its first figures
        shown += os.read(terminal, 4096)
    process.send_signal(number)
    while chunk := read_to_end(terminal):
        shown += chunk
    os.close(terminal)
    assert process.communicate()[0] == ""
    assert process.returncode == code, shown
    if number == signal.SIGINT:
        assert b"interrupted; the complete shards in " in shown
    assert len(rows(tmp_path / "out")) < 2000
    subprocess.run(command, capture_output=True, check=True)
    assert [row["id"] for row in rows(tmp_path / "out")] == [str(photos / "red.png")] * 2000


def read_to_end(terminal: int) -> bytes:
    """What there is to read; nothing once the other end is closed, which Linux reports as an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
