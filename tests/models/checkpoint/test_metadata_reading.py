from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vgg_models.checkpoint.reading import read_checkpoint
from vgg_models.metadata import CheckpointMetadata, Normalization

WEIGHTS = {"0.weight": torch.ones(2, 2)}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NAMES = ("daisy", "rose", "tulip")


def _metadata(tmp_path: Path, **facts: object) -> CheckpointMetadata:
    torch.save({"state_dict": WEIGHTS, "epoch": 3, **facts}, tmp_path / "last.ckpt")
    return read_checkpoint(tmp_path / "last.ckpt").metadata


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_names", list(NAMES)),
        ("classes", NAMES),
        ("labels", {0: "daisy", 2: "tulip", 1: "rose"}),
        ("class_to_idx", {"tulip": 2, "daisy": 0, "rose": 1}),
        ("idx_to_class", {"0": "daisy", "1": "rose", "2": "tulip"}),
    ],
)
def test_labels_are_read_in_every_form(tmp_path: Path, key: str, value: object) -> None:
    (labels,) = _metadata(tmp_path, **{key: value}).labels
    assert (labels.value, labels.source) == (NAMES, f"{key!r} in the checkpoint")


@pytest.mark.parametrize("value", [10, "flowers", [0, 1, 1], torch.tensor([0, 1]), None, [], {}])
def test_what_else_is_called_classes_is_left_alone(tmp_path: Path, value: object) -> None:
    assert _metadata(tmp_path, classes=value) == CheckpointMetadata()


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        (*IMAGENET, Normalization(*IMAGENET, divide_by=255.0)),
        (torch.tensor([0.5]).view(1, 1, 1, 1), torch.tensor([0.25]), Normalization((0.5,), (0.25,), 255.0)),
        (0.1307, 0.3081, Normalization((0.1307,), (0.3081,), 255.0)),
        ([123.5, 116, 103], [58, 57, 57.5], Normalization((123.5, 116.0, 103.0), (58.0, 57.0, 57.5), 1.0)),
        ([123.5, 116, 103], [1, 1, 1], Normalization((123.5, 116.0, 103.0), (1.0, 1.0, 1.0), 1.0)),
        ([0, 0, 0], [255, 255, 255], Normalization((0.0,) * 3, (255.0,) * 3, 1.0)),
    ],
    ids=["imagenet", "tensors", "grey", "0..255", "caffe", "scaled"],
)
def test_normalization_tells_its_scale(tmp_path: Path, mean: object, std: object, expected: Normalization) -> None:
    statement = _metadata(tmp_path, mean=mean, std=std).normalization
    assert statement is not None
    assert statement.value == expected


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        ([0.5, float("nan"), 0.5], [1, 1, 1], "NaN or infinity"),
        ([0.5] * 3, [0.2, 0, 0.2], "not of pixels from 0 to 1 or 0 to 255"),
        ([-1.0] * 3, [1.0] * 3, "not of pixels from 0 to 1 or 0 to 255"),
        ([0.5] * 3, [58.0] * 3, "not of the same scale"),
        ([0.5] * 3, [0.5], "mean has 3 values and std has 1"),
        (torch.rand(512), torch.rand(512), "mean has 0 values"),
        (np.array(IMAGENET[0]), np.array(IMAGENET[1]), "holds ndarray, not numbers"),
        (["a"], [1.0], "holds str, not numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_normalization_that_is_none_is_told(tmp_path: Path, mean: object, std: object, said: str) -> None:
    metadata = _metadata(tmp_path, mean=mean, std=std)
    assert metadata.normalization is None
    (remark,) = metadata.remarks
    assert remark.startswith("normalization: 'mean' in the checkpoint is not taken: ")
    assert said in remark


def test_a_mean_without_a_std_is_a_figure_of_something_else(tmp_path: Path) -> None:
    assert _metadata(tmp_path, mean=0.93) == CheckpointMetadata()


@pytest.mark.parametrize(
    ("value", "size"), [(96, (96, 96)), ((64, 128), (64, 128)), ([3, 224, 192], (224, 192)), ((1, 28, 28), (28, 28))]
)
def test_sizes_are_read_in_every_form(tmp_path: Path, value: object, size: tuple[int, int]) -> None:
    statement = _metadata(tmp_path, img_size=value).input_size
    assert statement is not None
    assert statement.value == size


@pytest.mark.parametrize("value", [0, -5, 10**9, 28.0, True, (224,), (4, 224, 224), ("a", "b"), torch.ones(2)])
def test_an_absurd_size_is_told(tmp_path: Path, value: object) -> None:
    metadata = _metadata(tmp_path, image_size=value)
    assert metadata.input_size is None
    assert "is not a size of 8 to 4096 pixels" in metadata.remarks[0]


@pytest.mark.parametrize(
    ("value", "name"), [("vgg16", "vgg16"), ("VGG16_bn", "vgg16_bn"), ("timm/resnet18.a1_in1k", "resnet18")]
)
def test_the_architecture_is_a_plain_name(tmp_path: Path, value: str, name: str) -> None:
    assert [each.value for each in _metadata(tmp_path, arch=value).architectures] == [name]


def test_timm_s_configuration_is_read(tmp_path: Path) -> None:
    mean, std = IMAGENET
    configuration = {"input_size": (3, 96, 96), "crop_pct": 0.95, "interpolation": "bicubic", "mean": mean, "std": std}
    metadata = _metadata(tmp_path, pretrained_cfg={"architecture": "resnet18", "crop_mode": "center", **configuration})
    facts = (metadata.input_size, metadata.crop_share, metadata.interpolation)
    assert [(each.value, each.source) for each in facts if each] == [
        ((96, 96), "'input_size' in 'pretrained_cfg' in the checkpoint"),
        (0.95, "'crop_pct' in 'pretrained_cfg' in the checkpoint"),
        ("bicubic", "'interpolation' in 'pretrained_cfg' in the checkpoint"),
    ]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"crop_pct": 0.9, "crop_mode": "border"}, "the crop_mode 'border' is not the centre crop"),
        ({"crop_pct": 0.0}, "0.0 is not from 0.5 to 1.0"),
        ({"interpolation": "random"}, "'random' is not one of nearest, bilinear"),
    ],
)
def test_geometry_that_is_not_available_is_told(tmp_path: Path, facts: dict[str, object], said: str) -> None:
    metadata = _metadata(tmp_path, default_cfg=facts)
    assert (metadata.crop_share, metadata.interpolation) == (None, None)
    assert said in metadata.remarks[0]


def test_statements_that_differ_are_told_and_none_is_taken(tmp_path: Path) -> None:
    metadata = _metadata(tmp_path, args={"img_size": 64}, hyper_parameters={"data": {"image_size": (96, 96)}})
    assert metadata.input_size is None
    assert metadata.remarks == (
        "input size: 'img_size' in 'args' in the checkpoint and 'image_size' in 'data' in 'hyper_parameters' in the "
        "checkpoint differ; none of them is taken",
    )


def test_tensors_of_the_model_are_no_statements(tmp_path: Path) -> None:
    weights = {**WEIGHTS, "mean": torch.tensor([0.5]), "std": torch.tensor([0.5])}
    torch.save(weights, tmp_path / "bare.pth")
    assert read_checkpoint(tmp_path / "bare.pth").metadata == CheckpointMetadata()
    assert _metadata(tmp_path, state_dict=weights) == CheckpointMetadata()


def test_labels_and_configuration_of_a_whole_module_are_read(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    module.class_to_idx = {"cat": 0, "dog": 1}
    module.pretrained_cfg = {"input_size": (3, 64, 64)}
    module.mean, module.std = (0.5,), (0.5,)  # its own forward may well use these
    torch.save(module, tmp_path / "whole.pt")
    metadata = read_checkpoint(tmp_path / "whole.pt").metadata
    assert [(each.value, each.source) for each in metadata.labels] == [(("cat", "dog"), "'class_to_idx' in the module")]
    assert metadata.input_size is not None
    assert metadata.normalization is None


def test_the_header_of_safetensors_is_read(tmp_path: Path) -> None:
    header = {"format": "pt", "classes": json.dumps(NAMES), "img_size": "64", "arch": "vgg16", "mean": "[" * 10**5}
    save_file(WEIGHTS, tmp_path / "net.safetensors", metadata=header)
    metadata = read_checkpoint(tmp_path / "net.safetensors").metadata
    assert [each.value for each in (*metadata.labels, *metadata.architectures)] == [NAMES, "vgg16"]
    assert metadata.input_size is not None
    assert metadata.input_size.source == "'img_size' in the header of the checkpoint"


def test_dicts_within_dicts_without_end_are_left_alone(tmp_path: Path) -> None:
    facts: dict[str, object] = {"img_size": 64}
    for _ in range(4):
        facts = {f"{i}": facts for i in range(20)}
    metadata = _metadata(tmp_path, args=facts)
    assert metadata == CheckpointMetadata()
