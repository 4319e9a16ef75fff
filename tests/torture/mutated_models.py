"""Model files changed at random and given to the runtime, alone and in bundles whose manifests agree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import onnx
import onnxruntime  # noqa: F401 - loaded before the fork
import torch  # noqa: F401
from fork_server import Answer, ForkServer
from mutated_checkpoints import mutated_archive
from mutations import changed

from vgg_runtime import Classifier
from vgg_runtime.bundle.checksums import sha256_of
from vgg_runtime.bundle.directory import MANIFEST, open_bundle
from vgg_runtime.bundle.manifest import Manifest, Variant

__all__ = ["mutated_models", "predict"]

_IMAGE = np.arange(28 * 28, dtype=np.uint32).reshape(28, 28).astype(np.uint8)
_EXTREMES = (-(2**63), -(2**31), -1, 0, 1, 2**16, 2**31 - 1, 2**40, 2**63 - 1)


def predict(request: Path) -> str:
    """Predict with the model and the variant of a request; return the best class."""
    model, variant = json.loads(request.read_text())
    with Classifier.open(model, variant=variant, device="cpu") as classifier:
        return classifier.predict(_IMAGE, top_k=1)[0].label


def mutated_models(
    server: ForkServer, folder: Path, bundle: Path, count: int, seed: int
) -> Iterator[tuple[str, Answer]]:
    """Predict with ``count`` changed ONNX and TorchScript files of the bundle, each opened by its name or within it."""
    copy, request = folder / "changed.bundle", folder / "request.json"
    shutil.copytree(bundle, copy)
    manifest = open_bundle(bundle).manifest
    for number in range(count):
        random = Random(f"{seed} {number}")  # noqa: S311 - repeatable
        variant = manifest.variants[number % len(manifest.variants)]
        path, original = copy / variant.file, (bundle / variant.file).read_bytes()
        path.write_bytes(_mutated(original, variant.format, random))
        if is_alone := random.random() < 0.5:
            request.write_text(json.dumps([str(path), None]))
        else:
            _agree(copy, manifest, variant)
            request.write_text(json.dumps([str(copy), variant.name]))
        yield f"{variant.name} {number}{' alone' * is_alone}", server.call("predict", request)
        path.write_bytes(original)


def _agree(bundle: Path, manifest: Manifest, changed_variant: Variant) -> None:
    """Write the manifest with the checksums that the files of the variant have now."""
    sha256 = {file: sha256_of(bundle / file) for file in changed_variant.sha256}
    variants = tuple(
        replace(variant, sha256=sha256) if variant == changed_variant else variant for variant in manifest.variants
    )
    (bundle / MANIFEST).write_text(replace(manifest, variants=variants).dump_with_checksum())


def _mutated(content: bytes, format_: str, random: Random) -> bytes:
    if format_ == "torchscript":
        return mutated_archive(content, random)
    for _ in range(random.randint(1, 3)):
        content = (changed if random.random() < 0.5 else _with_changed_graph)(content, random)
    return content


def _with_changed_graph(content: bytes, random: Random) -> bytes:
    """The ONNX file with another attribute, shape, operator or order, as protobuf reads and writes it."""
    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # changed before
        return changed(content, random)
    graph = model.graph
    if not graph.node or not graph.initializer:
        return changed(content, random)
    node, other, tensor = random.choice(graph.node), random.choice(graph.node), random.choice(graph.initializer)
    attributes = [attribute for attribute in node.attribute if attribute.ints]
    action = random.randrange(6)
    if action == 0 and attributes:
        attribute = random.choice(attributes)
        attribute.ints[random.randrange(len(attribute.ints))] = random.choice(_EXTREMES)
    elif action == 1 and tensor.dims:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice(_EXTREMES)
    elif action == 2:
        tensor.data_type = random.randrange(24)
    elif action == 3:
        node.op_type = other.op_type
    elif action == 4 and node.input and other.output:
        node.input[random.randrange(len(node.input))] = random.choice([*other.output, *other.input, tensor.name, ""])
    else:
        graph.node.remove(node)
    return bytes(model.SerializeToString())
