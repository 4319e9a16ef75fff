"""Nothing in a checkpoint runs: every attack below would leave a marker file if it did."""

from __future__ import annotations

import os
import pickle
import subprocess
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._tensor import _rebuild_from_type_v2

from vgg_models import load_model
from vgg_models.checkpoint.container import Container, detect_container
from vgg_models.checkpoint.reading import read_checkpoint
from vgg_models.checkpoint.torch_file import read_torch_file
from vgg_runtime.errors import CheckpointError, UnsafeCheckpointError, VggDeployError


class Call:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def _attacks(marker: Path) -> dict[str, tuple[Call, str]]:
    return {
        "os.system": (Call(os.system, f"touch {marker}"), "posix.system"),
        "eval": (Call(eval, f"open({str(marker)!r}, 'w')"), "builtins.eval"),
        "subprocess": (Call(subprocess.Popen, ["touch", str(marker)]), "subprocess.Popen"),
        "Path.touch": (Call(Path.touch, marker), "builtins.getattr"),
        "torch.load": (Call(torch.load, str(marker)), "torch.serialization.load"),
        "numpy": (Call(np.save, str(marker), 1), "numpy"),
        "a third-party function": (Call(pytest.importorskip, "antigravity"), "importorskip"),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("attack", list(_attacks(Path())))
@pytest.mark.parametrize("place", ["bare", "in a dict", "in a module"])
def test_a_blocked_call_is_named_and_does_not_run(tmp_path: Path, zipped: bool, attack: str, place: str) -> None:
    marker = tmp_path / "ran"
    call, named = _attacks(marker)[attack]
    layer = nn.ReLU()
    layer.extra = call  # type: ignore[assignment]
    content = {"bare": call, "in a dict": {"weights": torch.ones(2), "epoch": call}, "in a module": layer}[place]
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    if place == "in a module" and not zipped:
        # The container of torch 1.5 keeps the source of every class; that alone is refused.
        with pytest.raises(CheckpointError):
            read_checkpoint(path)
    else:
        with pytest.raises(UnsafeCheckpointError) as caught:
            read_checkpoint(path)
        assert named in caught.value.message
        assert caught.value.exit_code == 3
    assert not marker.exists()


@pytest.mark.parametrize("function", [os.system, torch.nn.functional.relu, torch.load, nn.Module.forward])
def test_a_function_is_blocked_even_where_it_is_not_called(
    saved: Callable[[object], Path], function: Callable[..., object]
) -> None:
    layer = nn.ReLU()
    layer.act = function
    with pytest.raises(UnsafeCheckpointError, match="which could run code"):
        read_checkpoint(saved(layer))


def test_the_attacks_would_run_in_an_ordinary_load(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save(_attacks(marker)["os.system"][0], tmp_path / "checkpoint.pth")
    torch.load(tmp_path / "checkpoint.pth", weights_only=False)
    assert marker.exists()


def test_a_plain_pickle_is_not_opened(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps(Call(os.system, f"touch {marker}"), protocol=2))
    with pytest.raises(CheckpointError, match="plain Python pickle"):
        read_checkpoint(tmp_path / "weights.pkl")
    assert not marker.exists()


@pytest.mark.parametrize(
    "call",
    [Call(nn.Linear, 3, 2), Call(_rebuild_from_type_v2, nn.Linear, nn.Linear, (3, 2), {})],
    ids=["called", "called by a function of torch's"],
)
@pytest.mark.parametrize("within", ["a dict", "a module"])
def test_a_layer_is_not_made_by_a_call(saved: Callable[[object], Path], call: Call, within: str) -> None:
    """A few bytes could ask for a layer of any size."""
    layer = nn.ReLU()
    layer.extra = call  # type: ignore[assignment]
    with pytest.raises(UnsafeCheckpointError, match=r"calls torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(saved(layer if within == "a module" else {"weight": torch.ones(2), "extra": call}))


def test_layers_come_back_as_torch_s_own(saved: Callable[[object], Path]) -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.MultiheadAttention(4, 2), nn.LSTM(2, 3), nn.Softmax(1)
    )
    module = read_checkpoint(saved(net)).module
    assert module is not None
    assert [type(layer) for layer in module.modules()] == [type(layer) for layer in net.modules()]


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.9),
        np.arange(5.0),
        np.array(["daisy", "rose"]),
        np.random.RandomState(0).get_state(),
        Namespace(lr=1),
        Path("runs"),
        datetime(2026, 5, 1, 12, tzinfo=UTC),
        date(2026, 5, 1),
        timedelta(minutes=3),
        partial(nn.LayerNorm, eps=1e-6),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_training_loops_save_are_no_obstacle(saved: Callable[[object], Path], value: object) -> None:
    assert list(read_checkpoint(saved({"model": {"0.weight": torch.ones(2, 2)}, "value": value})).state) == ["0.weight"]


def test_weights_as_numpy_arrays_are_told_from_tensors(saved: Callable[[object], Path]) -> None:
    with pytest.raises(CheckpointError, match=r"its keys are state_dict \(dict of ndarray\)"):
        read_checkpoint(saved({"state_dict": {"0.weight": np.ones((2, 2))}}))


def test_allowed_classes_hold_for_one_file_only(saved: Callable[[object], Path]) -> None:
    read_checkpoint(saved(nn.Sequential(nn.Linear(2, 2))))
    assert not [entry for entry in torch.serialization.get_safe_globals() if "torch.nn" in str(entry)]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_truncated_file_is_refused(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"a": torch.ones(5000)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for length in (40, 200, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="truncated"):
            read_checkpoint(path)


@pytest.mark.filterwarnings("ignore")  # torch warns of much that a damaged file may hold
@settings(max_examples=60)
@given(position=st.integers(0, 10**6), value=st.integers(0, 255), zipped=st.booleans(), whole=st.booleans())
def test_a_damaged_byte_never_gives_more_than_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, zipped: bool, whole: bool
) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(72, 3))
    path = tmp_path_factory.mktemp("damaged") / "checkpoint.pth"
    torch.save(net if whole else net.state_dict(), path, _use_new_zipfile_serialization=zipped)

    def damage(name: str, content: bytes) -> bytes:
        if not name.endswith(("data.pkl", ".pth")):
            return content
        at = position % len(content)
        return content[:at] + bytes([value]) + content[at + 1 :]

    damaged = path.with_name("damaged.pth")
    if zipped:
        _copy_entries(path, damaged, zipfile.ZIP_STORED, damage)
    else:
        damaged.write_bytes(damage("checkpoint.pth", path.read_bytes()))
    with suppress(VggDeployError):
        load_model(damaged, input_size=(28, 28))


def test_a_compressed_entry_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(5)}, tmp_path / "a.pth")
    _copy_entries(tmp_path / "a.pth", tmp_path / "b.pth", zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"compressed entries: .*data/0"):
        read_checkpoint(tmp_path / "b.pth")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_duplicate_entry_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(5)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth", "a") as archive:
        archive.writestr("a/data/0", bytes(20))
    with pytest.raises(CheckpointError, match="several entries with the same name: a/data/0"):
        read_checkpoint(tmp_path / "a.pth")


def test_gpu_checkpoint_loads_on_the_cpu_with_a_note(tmp_path: Path) -> None:
    torch.save(OrderedDict(weight=torch.arange(6.0)), tmp_path / "cpu.pth")
    _copy_entries(tmp_path / "cpu.pth", tmp_path / "cuda.pth", zipfile.ZIP_STORED, _as_if_on_cuda)
    file = read_torch_file(tmp_path / "cuda.pth", detect_container(tmp_path / "cuda.pth"))
    assert file.devices == ("cuda:0",)
    assert torch.equal(file.content["weight"], torch.arange(6.0))  # type: ignore[index]
    assert read_checkpoint(tmp_path / "cuda.pth").info.notes == ("saved on cuda:0; loaded on the CPU",)


def test_a_legacy_file_gives_its_tensors(tmp_path: Path) -> None:
    torch.save({"weight": torch.arange(6.0)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    content = read_torch_file(tmp_path / "old.pth", Container.TORCH_LEGACY).content
    assert torch.equal(content["weight"], torch.arange(6.0))  # type: ignore[index]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"M\xe9\x03.", b"M\xe8\x03."),
        (b"M\xe9\x03.", b"M\xea\x03."),
        (b"little_endianq\x02\x88", b"little_endianq\x02\x89"),
    ],
    ids=["protocol before", "protocol after", "big endian"],
)
def test_a_legacy_file_of_another_form_is_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    torch.save({"weight": torch.arange(6.0)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "old.pth").read_bytes()
    assert old in content
    (tmp_path / "old.pth").write_bytes(content.replace(old, new))
    with pytest.raises(CheckpointError, match=r"is not of the form that torch 1\.5 and older wrote"):
        read_checkpoint(tmp_path / "old.pth")


def test_a_legacy_file_with_other_storages_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.arange(6.0)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "old.pth").read_bytes()
    key = content.index(b"X", content.rindex(b"]q")) + 5  # in the list of keys, which is the last pickle
    (tmp_path / "old.pth").write_bytes(content[:key] + b"x" + content[key + 1 :])
    with pytest.raises(CheckpointError, match="has other storages than its tensors have"):
        read_checkpoint(tmp_path / "old.pth")


def test_a_zip_file_named_safetensors_is_read_as_what_it_is(tmp_path: Path) -> None:
    torch.save({"weight": torch.arange(6.0)}, tmp_path / "misnamed.safetensors")
    assert list(read_checkpoint(tmp_path / "misnamed.safetensors").state) == ["weight"]


def _as_if_on_cuda(name: str, content: bytes) -> bytes:
    """The pickle as a machine with a GPU writes it: a string of six characters in place of one of three."""
    cpu, cuda = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    return content.replace(cpu, cuda) if name.endswith("data.pkl") else content


def _copy_entries(
    source: Path, target: Path, method: int, change: Callable[[str, bytes], bytes] = lambda _, content: content
) -> None:
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w", method) as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
