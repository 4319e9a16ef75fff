from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from vgg_export.exporters.onnx import DEFAULT_OPSET, torch2onnx
from vgg_models._torchvision import import_torchvision
from vgg_runtime.bundle.manifest import InputSpec, OutputSpec
from vgg_runtime.errors import ArchitectureError, UsageError

OUTPUT_SPEC = OutputSpec("logits", 6)


def export(network: nn.Module, file: Path, input_spec: InputSpec, **options) -> onnx.ModelProto:
    torch2onnx(network, file, input_spec=input_spec, output_spec=OUTPUT_SPEC, **({"metadata": {}} | options))
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    return model


def shapes(model: onnx.ModelProto) -> dict[str, list[str | int]]:
    return {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + torch.randn_like(x)).flatten(1)


class RowsOneAfterTheOther(nn.Module):
    """Reads an image row by row, as tutorials on recurrent networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.LSTM(8, 4, batch_first=True), nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.recurrent(x[:, 0])[0][:, -1])


def vision_transformer() -> nn.Module:
    sizes = {"patch_size": 4, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    return import_torchvision().models.VisionTransformer(image_size=8, num_classes=6, **sizes)


def swin_transformer() -> nn.Module:
    sizes = {"patch_size": [2, 2], "embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": [2, 2]}
    return import_torchvision().models.SwinTransformer(num_classes=6, **sizes)


def test_input_output_and_batch_dimension_are_named(small_network, input_spec: InputSpec, tmp_path: Path) -> None:
    model = export(small_network(), tmp_path / "model.onnx", input_spec)
    assert shapes(model) == {"input": ["batch", 1, 8, 8], "output": ["batch", 6]}


@pytest.mark.parametrize("name", ["input", "output"])
def test_parameter_may_be_named_like_input_or_output(name: str, input_spec: InputSpec, tmp_path: Path) -> None:
    class Offset(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_parameter(name, nn.Parameter(torch.arange(64.0)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) - getattr(self, name)

    model = export(Offset().eval(), tmp_path / "model.onnx", input_spec)
    assert shapes(model) == {"input": ["batch", 1, 8, 8], "output": ["batch", 64]}


def test_a_fixed_batch(small_network, tmp_path: Path) -> None:
    model = export(small_network(), tmp_path / "model.onnx", InputSpec((3, 1, 8, 8)))
    assert shapes(model) == {"input": [3, 1, 8, 8], "output": [3, 6]}


def test_batchnorm_is_folded_and_nothing_else_is_added(small_network, input_spec: InputSpec, tmp_path: Path) -> None:
    nodes = Counter(node.op_type for node in export(small_network(), tmp_path / "model.onnx", input_spec).graph.node)
    assert nodes.keys() <= {"Conv", "Relu", "MaxPool", "Flatten", "Reshape", "Gemm"}
    assert nodes["Conv"] == nodes["Gemm"] == 1


def test_large_weights_are_external_unless_single_file(input_spec: InputSpec, tmp_path: Path) -> None:
    large = nn.Sequential(nn.Flatten(), nn.Linear(64, 1000)).eval()
    beside = torch2onnx(large, tmp_path / "model.onnx", input_spec=input_spec, output_spec=OUTPUT_SPEC, metadata={})
    single = torch2onnx(
        large, tmp_path / "lone.onnx", input_spec=input_spec, output_spec=OUTPUT_SPEC, metadata={}, single_file=True
    )
    assert (beside, single) == (tmp_path / "model.onnx.data", None)
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data", "lone.onnx"}
    assert (tmp_path / "model.onnx").stat().st_size < 256_000 < (tmp_path / "lone.onnx").stat().st_size


@pytest.mark.parametrize("opset", [18, DEFAULT_OPSET, 21])
def test_the_opset_is_the_one_asked_for(small_network, input_spec: InputSpec, tmp_path: Path, opset: int) -> None:
    model = export(small_network(), tmp_path / "model.onnx", input_spec, opset=opset)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [opset]


@pytest.mark.parametrize("opset", [0, 13])
def test_an_opset_that_cannot_be_written_is_refused(
    small_network, input_spec: InputSpec, tmp_path: Path, opset: int
) -> None:
    with pytest.raises(UsageError, match=rf"cannot write opset {opset}; it writes opset \d+ instead"):
        export(small_network(), tmp_path / "model.onnx", input_spec, opset=opset)
    assert not list(tmp_path.iterdir())


def test_metadata_reaches_the_runtime(small_network, input_spec: InputSpec, tmp_path: Path) -> None:
    model = export(small_network(), tmp_path / "model.onnx", input_spec, metadata={"labels": "größe"})
    assert {entry.key: entry.value for entry in model.metadata_props} == {"labels": "größe"}


def test_no_trace_of_the_build_machine(small_network, input_spec: InputSpec, tmp_path: Path) -> None:
    model = export(small_network(), tmp_path / "model.onnx", input_spec)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert not re.search(rb"\.py\b|site-packages|/home/|/root/|torch\.nn", (tmp_path / "model.onnx").read_bytes())


def test_forward_that_branches_on_values_is_refused(
    input_spec: InputSpec, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArchitectureError, match="cannot export this network to ONNX") as refusal:
        export(Branching().eval(), tmp_path / "model.onnx", input_spec)
    assert len(refusal.value.message.splitlines()) == 1
    assert capfd.readouterr() == ("", "")  # the exporter prints whole graphs, and logs


def test_an_interrupt_is_no_failure_to_export(
    small_network, input_spec: InputSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.onnx, "export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(small_network(), tmp_path / "model.onnx", input_spec)


def test_dropout_and_batchnorm_are_those_of_inference(input_spec: InputSpec, tmp_path: Path) -> None:
    import onnxruntime

    network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(0.9), nn.Linear(64, 6)).eval()
    export(network, tmp_path / "model.onnx", input_spec)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(session.run(None, {"input": batch})[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "channels"), [(vision_transformer, 3), (swin_transformer, 3), (RowsOneAfterTheOther, 1)]
)
def test_other_networks_have_operators_of_the_table(
    make: Callable[[], nn.Module], channels: int, tmp_path: Path
) -> None:
    model = export(make().eval(), tmp_path / "model.onnx", InputSpec(("batch", channels, 8, 8)))
    assert shapes(model)["output"] == ["batch", 6]


def test_operator_that_a_bundle_may_not_have_is_refused(input_spec: InputSpec, tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError, match="a bundle may not contain: RandomNormalLike") as refusal:
        export(Noisy().eval(), tmp_path / "model.onnx", input_spec)
    assert "torchscript" in refusal.value.hint
