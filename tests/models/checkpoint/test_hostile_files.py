"""A checkpoint's claims about itself are held against its bytes before anything is built from them."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vgg_models import load_model
from vgg_models.architectures.vgg import build_vgg
from vgg_models.checkpoint import torchscript
from vgg_models.checkpoint.reading import read_checkpoint
from vgg_models.recognition.module_input import check_memory
from vgg_runtime.errors import ArchitectureError, CheckpointError, UnsafeCheckpointError

Save = Callable[[object], Path]
Change = Callable[[str, bytes], bytes]

WEIGHTS = {"0.weight": torch.arange(64.0).reshape(8, 8), "1.weight": torch.ones(8, 8)}


def rewritten(path: Path, change: Change) -> Path:
    """The same archive with other contents of its entries, whose CRCs are right."""
    target = path.with_name(f"changed{path.suffix}")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(target, "w") as after:
        for entry in before.infolist():
            after.writestr(entry, change(entry.filename, before.read(entry)), entry.compress_type)
    return target


def with_flipped_bit(path: Path, entry: str) -> Path:
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        header = archive.getinfo(entry).header_offset
    lengths = struct.unpack_from("<2H", content, header + 26)
    content[header + 30 + sum(lengths) + 5] ^= 1
    path.write_bytes(content)
    return path


def resized(entry: str, size: int) -> Change:
    return lambda name, content: content.ljust(size, b"\0")[:size] if name.endswith(entry) else content


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(1)  # an attribute: not in the state dict
        self.network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))
        self.shift = nn.Parameter(torch.zeros(3))
        self.sizes = [1, 2]

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images) * self.scale + self.shift


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.jit.script(Scripted().eval()).save(str(tmp_path / "archive.pt"))
    return tmp_path / "archive.pt"


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit is deprecated


@pytest.mark.parametrize("size", [0, 128, 255, 257, 4096])
def test_a_record_of_another_size_is_refused_by_name(saved: Save, size: int) -> None:
    path = rewritten(saved(WEIGHTS), resized("data/0", size))
    with pytest.raises(CheckpointError, match=rf"{size} bytes in its entry checkpoint/data/0.*256 bytes"):
        read_checkpoint(path)


@pytest.mark.parametrize("size", [4, 4096])
def test_a_torchscript_record_of_another_size_is_refused(archive: Path, size: int) -> None:
    with pytest.raises(CheckpointError, match=rf"{size} bytes in its entry archive/data/0"):
        read_checkpoint(rewritten(archive, resized("/data/0", size)))


def without(archive: Path, end: str) -> Path:
    """A copy of ``archive`` that lacks the entries whose names end so."""
    path = archive.with_name("without.pth")
    with zipfile.ZipFile(archive) as before, zipfile.ZipFile(path, "w") as after:
        for name in before.namelist():
            if not name.endswith(end):
                after.writestr(name, before.read(name))
    return path


def test_a_record_that_is_missing_is_refused_by_name(saved: Save) -> None:
    path = without(saved(WEIGHTS), "data/1")
    with pytest.raises(CheckpointError, match="lacks the entry data/1"):
        read_checkpoint(path)


@pytest.mark.parametrize("entry", ["data/0", "data/1", "data.pkl"])
def test_a_flipped_bit_is_refused_by_name(saved: Save, entry: str) -> None:
    with pytest.raises(CheckpointError, match=rf"entry checkpoint/{entry} are not those that were written"):
        read_checkpoint(with_flipped_bit(saved(WEIGHTS), f"checkpoint/{entry}"))


def test_a_flipped_bit_in_a_torchscript_archive_is_refused(archive: Path) -> None:
    with pytest.raises(CheckpointError, match="entry archive/data/0 are not those that were written"):
        read_checkpoint(with_flipped_bit(archive, "archive/data/0"))


def test_a_file_without_checksums_is_read_with_a_note(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(WEIGHTS, tmp_path / "zip.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    torch.save(WEIGHTS, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    save_file(WEIGHTS, tmp_path / "weights.safetensors")
    for name in ("zip.pth", "legacy.pth", "weights.safetensors"):
        checkpoint = read_checkpoint(tmp_path / name)
        assert torch.equal(checkpoint.state["0.weight"], WEIGHTS["0.weight"])
        assert checkpoint.info.notes == ("the file has no checksums: damage to its weights would not be noticed",)


def test_entries_that_overlap_are_refused(saved: Save) -> None:
    path = saved(WEIGHTS)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        first, second = (archive.getinfo(f"checkpoint/data/{key}") for key in "01")
    # The directory's entry of data/0 ends with its name; its sizes are 26 bytes before that, twice.
    at = content.rindex(b"checkpoint/data/0") - 26
    larger = first.file_size + second.header_offset - first.header_offset
    path.write_bytes(content[:at] + struct.pack("<II", larger, larger) + content[at + 8 :])
    with pytest.raises(CheckpointError, match="entries that overlap what follows: checkpoint/data/0"):
        read_checkpoint(path)


def test_an_entry_elsewhere_than_listed_is_refused(saved: Save) -> None:
    path = saved(WEIGHTS)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"checkpoint/data/1", b"checkpoint/data/7", 1))
    with pytest.raises(CheckpointError, match="not where its directory says: checkpoint/data/1"):
        read_checkpoint(path)


def test_legacy_storage_of_another_length_is_refused(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "old.pth").read_bytes()
    at = content.rindex(struct.pack("<q", 64))
    (tmp_path / "old.pth").write_bytes(content[:at] + struct.pack("<q", 60) + content[at + 8 :])
    with pytest.raises(CheckpointError, match="has 60 numbers in 256 bytes, and is described as 64"):
        read_checkpoint(tmp_path / "old.pth")


def test_torchscript_weights_are_those_that_torch_reads(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = torch.jit.load(archive).state_dict()
    monkeypatch.setattr(torch.jit, "load", None)
    state = read_checkpoint(archive).state
    assert list(state) == list(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)


class Looping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.weight = state[0]
        self.training = state[1]
        while True:
            pass


def test_code_in_a_torchscript_archive_does_not_run(tmp_path: Path) -> None:
    torch.jit.script(Looping()).save(str(tmp_path / "archive.pt"))
    with pytest.raises(CheckpointError, match="a __setstate__ of its own"):
        read_checkpoint(tmp_path / "archive.pt")


def test_nested_dicts_with_weights_are_read_once_each(saved: Save) -> None:
    content: dict[str, object] = {"t": torch.ones(2)}
    for _ in range(40):  # twice the work for each would take years
        content = {"t": torch.ones(2), "state_dict": content}
    assert list(read_checkpoint(saved(content)).state) == ["t"]


def test_layers_that_multiply_are_refused(saved: Save) -> None:
    layer: nn.Module = nn.ReLU()
    for _ in range(30):
        layer = nn.Sequential(layer, layer)
    with pytest.raises(CheckpointError, match="more than 1000000 values"):
        read_checkpoint(saved(layer))


def test_what_contains_itself_is_refused(saved: Save) -> None:
    content: dict[str, object] = {"weight": torch.ones(2)}
    content["self"] = content
    with pytest.raises(CheckpointError, match="contains itself"):
        read_checkpoint(saved(content))


def test_deep_nesting_is_refused(saved: Save) -> None:
    content: list[object] = []
    for _ in range(200):
        content = [content]
    with pytest.raises(CheckpointError, match="nested more than 150 deep"):
        read_checkpoint(saved({"weight": torch.ones(2), "epochs": content}))


def test_more_tensors_than_any_classifier_has_are_refused(saved: Save) -> None:
    one = torch.ones(1)
    with pytest.raises(CheckpointError, match="the model has 10001 tensors; at most 10000"):
        read_checkpoint(saved({f"{number}.weight": one for number in range(10_001)}))


@pytest.mark.parametrize("key", ["a." * 20_000 + "weight", "k" * 1_000_000], ids=["prefixes", "long"])
def test_a_long_key_is_refused_in_a_short_message(saved: Save, key: str) -> None:
    with pytest.raises(CheckpointError, match=r"characters\); at most 1000 are read") as caught:
        read_checkpoint(saved({key: torch.ones(2)}))
    assert len(str(caught.value)) < 500


def test_a_long_name_of_a_class_is_cut_in_the_message(saved: Save) -> None:
    path = rewritten(
        saved({"weight": torch.ones(2)}),
        lambda name, content: content.replace(b"_rebuild_tensor_v2", b"_" * 100_000) if "pkl" in name else content,
    )
    with pytest.raises(CheckpointError, match="which could run code") as caught:
        read_checkpoint(path)
    assert len(str(caught.value)) < 1000


def test_many_unusable_weights_are_listed_with_their_count(saved: Save) -> None:
    broken = torch.tensor([float("nan")])
    with pytest.raises(CheckpointError, match=r"NaN or infinite: 0\.w, .*9\.w, and 990 more") as caught:
        read_checkpoint(saved({f"{number}.w": broken for number in range(1000)}))
    assert len(str(caught.value)) < 1000


class Call:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def test_a_pickle_of_megabytes_is_read(saved: Save) -> None:
    assert list(read_checkpoint(saved({"state_dict": WEIGHTS, "log": "x" * (2 << 20)})).state) == list(WEIGHTS)


def test_a_call_that_allocates_allocates_nothing(saved: Save) -> None:
    path = saved({"state_dict": WEIGHTS, "buffer": Call(bytearray, 100_000_000)})
    tracemalloc.start()
    try:
        read_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_an_expanded_tensor_is_refused(saved: Save) -> None:
    with pytest.raises(CheckpointError, match=r"shape \(100000, 100000\), strides \(0, 0\).*has 1 numbers"):
        read_checkpoint(saved({"0.weight": torch.ones(1, 1).expand(100_000, 100_000)}))


def test_tensors_that_share_a_storage_many_times_are_refused(saved: Save) -> None:
    storage = torch.ones(1000, dtype=torch.float16)
    with pytest.raises(CheckpointError, match="more than 4 times its 2000 bytes"):
        read_checkpoint(saved({f"{start}.weight": storage[start:] for start in range(20)}))


def test_tied_weights_are_cast_once(saved: Save) -> None:
    weight = torch.ones(100, dtype=torch.float16)
    state = read_checkpoint(saved({f"{number}.weight": weight.detach() for number in range(20)})).state
    assert len({tensor.data_ptr() for tensor in state.values()}) == 1


def test_a_feature_map_of_impossible_size_is_refused(saved: Save) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=14_000), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    with pytest.raises(ArchitectureError, match=r"computes a tensor of shape \(1, 1, 28026, 28026\)"):
        load_model(saved(net), input_size=28)


def test_a_vgg16_computes_nothing_of_impossible_size() -> None:
    with torch.device("meta"):
        check_memory(build_vgg("vgg16"), 3, (224, 224))


def test_a_layer_without_its_attributes_is_refused(saved: Save) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(338, 3))
    del net[1].kernel_size
    with pytest.raises(CheckpointError, match="the layer 1 is a MaxPool2d that lacks kernel_size"):
        load_model(saved(net))


def test_a_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="is not a regular file"):
        read_checkpoint(tmp_path / "weights.pth")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickle_gives_the_same_weights(tmp_path: Path, protocol: int) -> None:
    content = {"state_dict": WEIGHTS, "tags": {"a", "b"}, "digest": b"12"}
    torch.save(content, tmp_path / "checkpoint.pth", pickle_protocol=protocol)
    state = read_checkpoint(tmp_path / "checkpoint.pth").state
    assert all(torch.equal(state[key], WEIGHTS[key]) for key in WEIGHTS)


def test_a_record_out_of_alignment_gives_its_weights(saved: Save) -> None:
    state = read_checkpoint(rewritten(saved(WEIGHTS), lambda _, content: content)).state  # zipfile aligns nothing
    assert all(torch.equal(state[key], WEIGHTS[key]) for key in WEIGHTS)


def test_a_big_endian_file_gives_its_weights(saved: Save) -> None:
    def swap(name: str, content: bytes) -> bytes:
        if name.endswith("byteorder"):
            return b"big"
        return (
            torch.frombuffer(bytearray(content), dtype=torch.int32).numpy().byteswap().tobytes()
            if "data/" in name
            else content
        )

    path = rewritten(
        saved(WEIGHTS), lambda name, content: content if "serialization_id" in name else swap(name, content)
    )
    state = read_checkpoint(path).state
    assert all(torch.equal(state[key], WEIGHTS[key]) for key in WEIGHTS)


def test_an_unknown_byte_order_is_refused(saved: Save) -> None:
    path = rewritten(saved(WEIGHTS), lambda name, content: b"middle" if name.endswith("byteorder") else content)
    with pytest.raises(CheckpointError, match="unknown byte order 'middle'"):
        read_checkpoint(path)


def test_a_file_without_a_byte_order_is_little_endian(saved: Save) -> None:
    path = without(saved(WEIGHTS), "byteorder")
    assert torch.equal(read_checkpoint(path).state["0.weight"], WEIGHTS["0.weight"])


def test_torchscript_code_is_bounded_in_all(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(archive) as entries:
        largest = max(entry.file_size for entry in entries.infolist() if entry.filename.endswith(".py"))
    monkeypatch.setattr(torchscript, "_MAX_CODE_BYTES", largest)
    with pytest.raises(CheckpointError, match=r"bytes in its entry archive/code/.*; at most \d+ are read"):
        read_checkpoint(archive)


@pytest.mark.parametrize("version", [b"", b"\0\0\0\0", b"0", b"11", b"-1", b"3" * 9])
def test_a_version_that_torch_does_not_know_is_refused(saved: Save, version: bytes) -> None:
    path = rewritten(saved(WEIGHTS), lambda name, content: version if name.endswith("/version") else content)
    with pytest.raises(RuntimeError, match="version"):
        torch.load(path)
    with pytest.raises(CheckpointError, match="states the version"):
        read_checkpoint(path)


def test_an_identifier_that_torch_cannot_read_is_refused(saved: Save) -> None:
    def damaged(name: str, content: bytes) -> bytes:
        return content[:-1] + b"\xff" if name.endswith("/serialization_id") else content

    path = rewritten(saved(WEIGHTS), damaged)
    with pytest.raises(UnicodeDecodeError):
        torch.load(path)
    with pytest.raises(CheckpointError, match=r"has an entry .*/serialization_id that is no text"):
        read_checkpoint(path)


@pytest.mark.parametrize("alignment", [b"", b"\xb64", b"a"])
def test_an_alignment_that_torch_cannot_read_is_refused(saved: Save, alignment: bytes) -> None:
    path = rewritten(saved(WEIGHTS), lambda name, content: alignment if name.endswith("_alignment") else content)
    with pytest.raises(ValueError, match="invalid literal"):
        torch.load(path)
    with pytest.raises(CheckpointError, match=r"has an entry .*/\.storage_alignment that is no number"):
        read_checkpoint(path)


class Configuration:
    """What a training loop may keep beside its weights: an object that is no module, even without a state."""


def test_an_object_that_is_no_module_is_left_alone(saved: Save) -> None:
    content = {"state_dict": WEIGHTS, "configuration": Configuration()}
    assert list(read_checkpoint(saved(content)).state) == list(WEIGHTS)


@pytest.mark.parametrize("protocol", [2, 5])
def test_numpy_arrays_of_every_protocol_are_left_alone(tmp_path: Path, protocol: int) -> None:
    torch.save({"state_dict": WEIGHTS, "history": np.ones(9)}, tmp_path / "checkpoint.pth", pickle_protocol=protocol)
    assert list(read_checkpoint(tmp_path / "checkpoint.pth").state) == list(WEIGHTS)


def with_pickle(saved: Save, pickled: bytes) -> Path:
    return rewritten(saved(WEIGHTS), lambda name, content: pickled if name.endswith("data.pkl") else content)


def test_a_key_that_takes_long_to_hash_is_refused(saved: Save) -> None:
    tuples = b"".join(b"h\x00h\x00\x86q\x00" for _ in range(20))  # (t, t) of the one before
    with pytest.raises(CheckpointError, match="has a tuple as a key"):
        read_checkpoint(with_pickle(saved, b"\x80\x02)q\x00" + tuples + b"}h\x00Ns."))


def test_a_call_of_very_many_arguments_is_refused(saved: Save) -> None:
    with pytest.raises(UnsafeCheckpointError, match=r"calls torch\._utils\._rebuild_sparse_tensor"):
        read_checkpoint(with_pickle(saved, b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n(" + b"N" * 101 + b"tR."))


def test_a_name_causes_no_import(saved: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__getattr__", pytest.fail)
    with pytest.raises(UnsafeCheckpointError, match=r"names torch\.onnx_"):
        read_checkpoint(with_pickle(saved, b"\x80\x02ctorch\nonnx_\n."))


def test_a_recurrent_layer_of_impossible_depth_is_refused(saved: Save) -> None:
    layer = nn.LSTM(2, 2)
    layer.num_layers, layer._all_weights = 10**5, [[1]]  # its __setstate__ would make the names of 100,000 layers
    with pytest.raises(CheckpointError, match="a LSTM of the checkpoint has a state that no layer has"):
        read_checkpoint(saved(layer))


def test_weights_of_a_shared_layer_are_cast_once(saved: Save) -> None:
    layer = nn.Linear(100, 100).half()
    state = read_checkpoint(saved(nn.Sequential(*[layer] * 20))).state
    assert len({tensor.data_ptr() for tensor in state.values()}) == 2


def test_weights_of_many_layers_are_put_in_place_once(saved: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own way looks at each of the 2 n keys for each of the n layers."""
    monkeypatch.setattr(nn.Module, "load_state_dict", None)
    layers = [nn.Linear(2, 2).half() for _ in range(20)]
    module = read_checkpoint(saved(nn.Sequential(*layers, layers[0]))).module
    assert module is not None
    assert module[20] is module[0]
    assert [layer.weight.dtype for layer in module] == [torch.float32] * 21
    assert all(torch.equal(layer.bias, other.bias.float()) for layer, other in zip(module, layers, strict=False))


def test_rows_deeper_than_any_network_are_not_tried(saved: Save) -> None:
    layers = {f"features.{2 * number}": torch.ones(1, 1, 3, 3) for number in range(300)}
    state = {f"{path}.weight": weight for path, weight in layers.items()} | {"classifier.0.weight": torch.ones(2, 49)}
    with pytest.raises(ArchitectureError, match="can't be read off this checkpoint: 300 convolutions"):
        load_model(saved(state))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"class Linear(", b"class Lineas(", r"lacks the code of the class __torch__.*Linear"),
        (b'"weight", "bias"', b'"wright", "bias"', r"lacks the tensor network\..*wright"),
        (
            b'"weight", "bias"',
            b'"weight"',
            r"has the tensor network\.0\.bias, which the code of its class does not name",
        ),
    ],
    ids=["no class", "no tensor", "one tensor too many"],
)
def test_torchscript_code_of_other_tensors_is_refused(archive: Path, old: bytes, new: bytes, message: str) -> None:
    path = rewritten(archive, lambda name, content: content.replace(old, new) if "/code/" in name else content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_torchscript_without_the_code_of_a_class_is_refused(archive: Path) -> None:
    path = archive.with_name("changed.pt")
    with zipfile.ZipFile(archive) as before, zipfile.ZipFile(path, "w") as after:
        for name in before.namelist():
            if "/modules/linear" not in name:  # a file, or a folder of those that torch renamed
                after.writestr(name, before.read(name))
    with pytest.raises(CheckpointError, match=r"lacks the code of the class __torch__.*Linear"):
        read_checkpoint(path)
