from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from vgg_export.writing import atomic_directory
from vgg_export.writing.atomic_directory import check_destination, staged_directory
from vgg_runtime.bundle.directory import MANIFEST, REPORT
from vgg_runtime.bundle.manifest import Architecture, InputSpec, Manifest, OutputSpec, Source, Variant
from vgg_runtime.errors import MissingCapabilityError, UsageError
from vgg_runtime.imaging.preprocessing import Preprocessing

MODEL = "onnx-fp32/model.onnx"


def manifest(name: str) -> str:
    return Manifest(
        architecture=Architecture(name, "a network", "named"),
        source=Source("state dict", "trained"),
        input=InputSpec(("batch", 1, 8, 8)),
        output=OutputSpec("logits", 6),
        preprocessing=Preprocessing("L"),
        labels=None,
        variants=(Variant("onnx-fp32", "onnx", "fp32", MODEL, 5, {MODEL: "00" * 32}),),
    ).dump()


def write(destination: Path, name: str, *, overwrite: bool = False) -> None:
    """Write a bundle whose architecture has that name."""
    with staged_directory(destination, overwrite=overwrite) as staging:
        (staging / MANIFEST).write_text(manifest(name))
        (staging / REPORT).write_text("read me")
        (staging / MODEL).parent.mkdir()
        (staging / MODEL).write_text("model")


WHOLE = {MANIFEST, REPORT, "onnx-fp32", MODEL}


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_nothing_is_at_the_destination_until_the_block_ends(tmp_path: Path) -> None:
    with staged_directory(tmp_path / "a.bundle", overwrite=False) as staging:
        (staging / MANIFEST).write_text("{}")
        assert not (tmp_path / "a.bundle").exists()
    assert tree(tmp_path) == {"a.bundle", f"a.bundle/{MANIFEST}"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_block_that_raises_leaves_no_files_or_parents(tmp_path: Path, error: type[BaseException]) -> None:
    def write_half() -> None:
        with staged_directory(tmp_path / "new" / "deep" / "a.bundle", overwrite=False) as staging:
            (staging / "model.onnx").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert not tree(tmp_path)


def test_parents_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="no"), staged_directory(tmp_path / "mine" / "a.bundle", overwrite=False):
        raise ValueError("no")
    assert tree(tmp_path) == {"mine"}


@pytest.mark.parametrize("parents", ["new/deep", "new/../other"])
def test_missing_parents_are_made(tmp_path: Path, parents: str) -> None:
    write(tmp_path / parents / "a.bundle", "made")
    assert (tmp_path / parents / "a.bundle" / MANIFEST).read_text() == manifest("made")


@pytest.mark.parametrize("swap_in_one_step", [True, False])
def test_overwrite_replaces_a_bundle_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap_in_one_step: bool
) -> None:
    if not swap_in_one_step:
        monkeypatch.setattr(atomic_directory, "_exchange", lambda first, second: False)
    write(tmp_path / "a.bundle", "old")
    write(tmp_path / "a.bundle", "new", overwrite=True)
    assert tree(tmp_path / "a.bundle") == WHOLE
    assert tree(tmp_path) == {"a.bundle", *(f"a.bundle/{name}" for name in WHOLE)}
    assert (tmp_path / "a.bundle" / MANIFEST).read_text() == manifest("new")


@pytest.mark.skipif(sys.platform != "linux", reason="no other system swaps two directories")
@pytest.mark.parametrize("folder", ["", "{tmp_path}/"])
def test_two_directories_are_swapped_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (Path(folder.format(tmp_path=tmp_path) + name) for name in ("first", "second"))
    (first / "1").mkdir(parents=True)
    (second / "2").mkdir(parents=True)
    assert atomic_directory._exchange(first, second)
    assert tree(tmp_path) == {"first", "first/2", "second", "second/1"}
    assert not atomic_directory._exchange(first, tmp_path / "none")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is flushed")
def test_everything_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda number: flushed.append(Path(f"/proc/self/fd/{number}").resolve()))
    descriptors = len([*Path("/proc/self/fd").iterdir()])
    write(tmp_path / "a.bundle", "first")
    *inside, last = flushed
    assert {path.relative_to(inside[0]).as_posix() for path in inside} == {".", *WHOLE}
    assert inside[0].name == "new"
    assert last == tmp_path.resolve()
    assert len([*Path("/proc/self/fd").iterdir()]) == descriptors


def test_a_failed_overwrite_keeps_the_old_bundle(tmp_path: Path) -> None:
    write(tmp_path / "a.bundle", "old")
    with pytest.raises(ValueError, match="no"), staged_directory(tmp_path / "a.bundle", overwrite=True):
        raise ValueError("no")
    assert tree(tmp_path / "a.bundle") == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == ["a.bundle"]
    assert (tmp_path / "a.bundle" / MANIFEST).read_text() == manifest("old")


def test_a_bundle_is_kept_without_overwrite(tmp_path: Path) -> None:
    write(tmp_path / "a.bundle", "old")
    with pytest.raises(UsageError, match="exists") as refusal:
        check_destination(tmp_path / "a.bundle", overwrite=False)
    assert "`overwrite=True`" in refusal.value.hint


def test_what_is_no_bundle_is_kept_even_with_overwrite(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("photos", "file"):
        with pytest.raises(UsageError, match="is not a bundle, so it is not replaced"):
            check_destination(tmp_path / name, overwrite=True)


def test_a_link_is_kept_and_called_one(tmp_path: Path) -> None:
    write(tmp_path / "a.bundle", "old")
    (tmp_path / "link").symlink_to(tmp_path / "a.bundle")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    for name in ("link", "dangling"):
        with pytest.raises(UsageError, match="is a link, so it is not replaced"):
            check_destination(tmp_path / name, overwrite=True)


@pytest.mark.parametrize(
    "name", ["model.pth", "onnx-fp32/notes.txt", "onnx-mine/a.txt", "torchscript-fp32", "deep/er/.hidden"]
)
def test_a_bundle_with_the_users_own_files_in_it_is_kept(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.bundle", "old")
    (tmp_path / "a.bundle" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "a.bundle" / name).write_text("the only copy")
    with pytest.raises(UsageError, match=rf"holds more than a bundle.*{name}"):
        write(tmp_path / "a.bundle", "new", overwrite=True)
    assert (tmp_path / "a.bundle" / name).read_text() == "the only copy"


def test_a_bundle_with_a_link_to_a_folder_in_it_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "a.bundle", "old")
    (tmp_path / "a.bundle" / "photos").symlink_to(tmp_path)
    with pytest.raises(UsageError, match=r"holds more than a bundle.*photos"):
        check_destination(tmp_path / "a.bundle", overwrite=True)


@pytest.mark.parametrize("content", ["", "{}", '{"name": "another application\'s"}', "[" * 10_000])
def test_a_folder_with_a_bundle_json_of_another_kind_is_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    (tmp_path / REPORT).write_text("mine")
    with pytest.raises(UsageError, match="is not a bundle that this release can read") as refused:
        check_destination(tmp_path, overwrite=True)
    assert "Remove it yourself" in refused.value.hint


def test_a_damaged_bundle_can_be_replaced(tmp_path: Path) -> None:
    write(tmp_path / "a.bundle", "old")
    (tmp_path / "a.bundle" / MODEL).unlink()
    write(tmp_path / "a.bundle", "new", overwrite=True)
    assert tree(tmp_path / "a.bundle") == WHOLE


def write_and_be_killed(folder: Path, *, at: str, overwrite: bool = False) -> None:
    """Replace ``a.bundle`` in another process, which is killed when the code ``at`` in the block is reached."""
    code = f"""
import os, signal
from pathlib import Path
from vgg_export.writing import atomic_directory
def end(*_): os.kill(os.getpid(), signal.SIGKILL)
with atomic_directory.staged_directory(Path("a.bundle"), overwrite={overwrite}) as staging:
    (staging / "onnx-fp32").mkdir()
    (staging / "onnx-fp32" / "model.onnx").write_text("half")
    {at}
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=folder)
    assert killed.returncode == -signal.SIGKILL


IN_BLOCK, BEFORE_RENAME = "end()", "atomic_directory._put_in_place = end"
BETWEEN_RENAMES = """atomic_directory._exchange = lambda *_: False
    type(staging).rename = lambda *paths: (os.rename(*paths), end())"""


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
@pytest.mark.parametrize("at", [IN_BLOCK, BEFORE_RENAME])
def test_next_writer_removes_what_killed_ones_left(tmp_path: Path, at: str) -> None:
    for _ in range(2):
        write_and_be_killed(tmp_path, at=at)
    assert len(list(tmp_path.iterdir())) == 1
    write(tmp_path / "a.bundle", "next")
    assert tree(tmp_path) == {"a.bundle", *(f"a.bundle/{name}" for name in WHOLE)}


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
@pytest.mark.parametrize("overwrite", [True, False])
def test_bundle_lost_between_two_renames_comes_back(tmp_path: Path, overwrite: bool) -> None:
    write(tmp_path / "a.bundle", "old")
    write_and_be_killed(tmp_path, at=BETWEEN_RENAMES, overwrite=True)
    assert not (tmp_path / "a.bundle").exists()
    with nullcontext() if overwrite else pytest.raises(UsageError, match="exists"):
        write(tmp_path / "a.bundle", "next", overwrite=overwrite)
    assert tree(tmp_path) == {"a.bundle", *(f"a.bundle/{name}" for name in WHOLE)}
    assert (tmp_path / "a.bundle" / MANIFEST).read_text() == manifest("next" if overwrite else "old")


def test_folder_of_a_living_writer_is_not_removed(tmp_path: Path) -> None:
    with staged_directory(tmp_path / "a.bundle", overwrite=True) as staging:
        (staging / MANIFEST).write_text(manifest("slow"))
        write(tmp_path / "a.bundle", "quick")
    assert tree(tmp_path) == {"a.bundle", f"a.bundle/{MANIFEST}"}


def test_folders_of_other_names_are_not_removed(tmp_path: Path) -> None:
    mine = {".a.bundle.partial", ".b.bundle.abcd1234.partial", ".a.bundle.b.abcd1234.partial", "a.bundle.x.partial"}
    for name in mine:
        (tmp_path / name).mkdir()
    (tmp_path / ".a.bundle.abcd1234.partial").symlink_to(tmp_path / "a.bundle.x.partial")
    write(tmp_path / "a.bundle", "next")
    assert {path.name for path in tmp_path.iterdir()} == {*mine, "a.bundle", ".a.bundle.abcd1234.partial"}
    assert not list((tmp_path / "a.bundle.x.partial").iterdir())


def test_something_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    def write_while_another_does() -> None:
        with staged_directory(tmp_path / "a.bundle", overwrite=False) as staging:
            (staging / MANIFEST).write_text("late")
            write(tmp_path / "a.bundle", "first")

    with pytest.raises(UsageError, match="exists"):
        write_while_another_does()
    assert (tmp_path / "a.bundle" / MANIFEST).read_text() == manifest("first")


def test_later_of_two_writers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both found nothing at the destination; only the rename tells."""
    monkeypatch.setattr(atomic_directory, "check_destination", lambda destination, overwrite: None)
    monkeypatch.setattr(Path, "exists", lambda path: path.name != "a.bundle")
    write(tmp_path / "a.bundle", "first")
    with pytest.raises(UsageError, match="was written by someone else in the meantime"):
        write(tmp_path / "a.bundle", "late")
    assert (tmp_path / "a.bundle" / MANIFEST).read_text() == manifest("first")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bundle"]


@pytest.mark.parametrize("name", ["file/a.bundle", "file/deep/a.bundle", "x" * 250, "x" * 300 + "/a.bundle"])
def test_a_place_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MissingCapabilityError, match="cannot be written"):
        write(tmp_path / name, "{}")
    assert tree(tmp_path) == {"file"}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EIO, "Input/output error"),
        OSError("9 requested, 1 written"),
    ],
)
def test_a_disk_full_or_broken_is_no_fault_of_ours(tmp_path: Path, error: OSError) -> None:
    with (
        pytest.raises(MissingCapabilityError, match=r"No space left|Input/output|9 requested"),
        staged_directory(tmp_path / "a.bundle", overwrite=False),
    ):
        raise error
    assert not tree(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which directory is flushed")
def test_a_flush_that_fails_says_the_bundle_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def fail_for_the_parent(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve() == tmp_path.resolve():
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_the_parent)
    with pytest.raises(MissingCapabilityError, match=r"is written to .* does not confirm it: Input/output"):
        write(tmp_path / "a.bundle", "first")
    assert tree(tmp_path / "a.bundle") == WHOLE


def test_the_directory_has_the_permissions_of_any_new_one(tmp_path: Path) -> None:
    write(tmp_path / "a.bundle", "{}")
    (tmp_path / "other").mkdir()
    assert (tmp_path / "a.bundle").stat().st_mode == (tmp_path / "other").stat().st_mode
