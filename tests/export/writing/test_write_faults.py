"""Every event at which writing a directory can be killed or fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).parents[2] / "torture"

# Replaces a bundle once per event. Prints, by event: how the process ended, which bundle is there, what else is there,
# what was noted, and the same after the next write.
REPLACE = """
import errno, json, os, sys
from pathlib import Path
from file_system_faults import fail_with, kill, run_with_fault
from vgg_export.writing import atomic_directory

folder, notes = Path.cwd() / "bundles", Path.cwd() / "notes"
folder.mkdir()
if sys.argv[2] == "in two steps":
    atomic_directory._exchange = lambda first, second: False
fault = kill if sys.argv[1] == "kill" else fail_with(getattr(errno, sys.argv[1]))

def write(name):
    with atomic_directory.staged_directory(folder / "a.bundle", overwrite=True, on_note=notes.write_text) as staging:
        (staging / "deep").mkdir()
        for part in ("bundle.json", "deep/model.onnx"):
            (staging / part).write_text(name)

atomic_directory._require_only_bundle_files = lambda destination: None

def state():
    parts = [folder / "a.bundle" / part for part in ("bundle.json", "deep/model.onnx")]
    contents = {part.read_text() if part.exists() else None for part in parts}
    others = [name for name in os.listdir(folder) if name != "a.bundle"]
    noted = notes.read_text() if notes.exists() else ""
    notes.unlink(missing_ok=True)
    return [sorted(map(str, contents)), others, noted]

write("0")
at, outcomes = 0, []
while True:
    at += 1
    code, events = run_with_fault(lambda: write(str(at)), folder, fault, at)
    if events < at:
        break
    assert at < 200, "each write leaves more for the next to do"
    outcome = [code, *state()]
    assert run_with_fault(lambda: write(f"after {at}"), folder, fault, -1)[0] == 0
    outcomes.append([*outcome, *state()])
print(json.dumps(outcomes))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked, and files locked")
@pytest.mark.parametrize("steps", ["in one step", "in two steps"])
@pytest.mark.parametrize("fault", ["kill", "ENOSPC", "EIO"])
def test_a_fault_at_any_event_leaves_a_whole_directory(tmp_path: Path, fault: str, steps: str) -> None:
    command = [sys.executable, "-c", REPLACE, fault, steps]
    paths = os.pathsep.join([str(TORTURE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert len(outcomes) > 15
    before = "0"
    for at, (code, contents, others, noted, *after) in enumerate(outcomes, 1):
        # What fails while the workspace is removed does not fail the write.
        assert code == -9 if fault == "kill" else code == 9 or (code, contents) == (0, [str(at)])
        # Between two renames, the old directory is in the workspace and comes back.
        lost_for_now = contents == ["None"] and fault == "kill" and steps == "in two steps"
        assert contents in ([before], [str(at)]) or lost_for_now, at
        if fault != "kill":
            assert code == 0 or others == [], at
            assert bool(noted) == bool(others), at
            assert all(f"{name} cannot be removed" in noted for name in others), at
        assert after == [[f"after {at}"], [], ""], at
        before = f"after {at}"
