"""``config.pbtxt`` as Triton's own protobuf has it; an unknown field or value is an error there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vgg_runtime.bundle.manifest import InputSpec, Manifest
from vgg_triton.model_config import model_config

SERVING = Path(__file__).parents[3] / "build" / "serving"
MakeManifest = Callable[..., Manifest]

pytestmark = pytest.mark.skipif(
    not (SERVING / "tritonclient").is_dir(), reason="build/serving is not there: make build/serving/ready"
)

PARSE = """
import sys
from google.protobuf import json_format, text_format
from model_config_pb2 import ModelConfig  # by itself: its package needs gRPC, which is compiled for one Python
print(json_format.MessageToJson(text_format.Parse(sys.stdin.read(), ModelConfig()), preserving_proto_field_name=True))
"""


def parsed(manifest: Manifest, name: str = "colours", **settings: Any) -> dict[str, Any]:
    text = model_config(name, manifest, **{"max_batch": 8, "instances": 1, "device": "auto", **settings})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (SERVING, SERVING / "tritonclient" / "grpc")))}
    done = subprocess.run([sys.executable, "-c", PARSE], input=text, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_config_of_dynamic_batch_is_what_triton_reads(make_manifest: MakeManifest) -> None:
    assert parsed(make_manifest()) == {
        "name": "colours",
        "platform": "onnxruntime_onnx",
        "max_batch_size": 8,
        "input": [{"name": "input", "data_type": "TYPE_FP32", "dims": ["3", "6", "8"]}],
        "output": [{"name": "output", "data_type": "TYPE_FP32", "dims": ["3"], "label_filename": "labels.txt"}],
        "dynamic_batching": {},
        "instance_group": [{"count": 1}],  # KIND_AUTO is the zero of protobuf
    }


def test_config_of_fixed_batch_has_it_in_the_dims(make_manifest: MakeManifest) -> None:
    config = parsed(make_manifest(input=InputSpec((4, 3, 6, 8))))
    assert config.keys().isdisjoint({"max_batch_size", "dynamic_batching"})
    assert config["input"][0]["dims"] == ["4", "3", "6", "8"]
    # Triton would take the twelve outputs for the classes of one image.
    assert config["output"] == [{"name": "output", "data_type": "TYPE_FP32", "dims": ["4", "3"]}]


def test_config_of_embedded_preprocessing_takes_pixels(make_manifest: MakeManifest) -> None:
    manifest = make_manifest()
    config = parsed(make_manifest(input=manifest.input.as_pixels()))
    assert config["input"] == [{"name": "input", "data_type": "TYPE_UINT8", "dims": ["6", "8", "3"]}]


@pytest.mark.parametrize(("device", "kind"), [("cpu", "KIND_CPU"), ("cuda", "KIND_GPU")])
def test_settings_are_in_the_config(make_manifest: MakeManifest, device: str, kind: str) -> None:
    config = parsed(make_manifest(), max_batch=32, instances=2, device=device)
    assert config["max_batch_size"] == 32
    assert config["instance_group"] == [{"count": 2, "kind": kind}]


def test_config_without_labels_names_no_file(make_manifest: MakeManifest) -> None:
    assert "label_filename" not in parsed(make_manifest(labels=None))["output"][0]


def test_odd_names_are_quoted(make_manifest: MakeManifest) -> None:
    name = 'a "quoted"\nname\\'
    config = parsed(make_manifest(input=InputSpec(("batch", 3, 6, 8), name=name)))
    assert config["input"][0]["name"] == name
