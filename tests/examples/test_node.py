"""examples/node: the bundle in Node.js, with onnxruntime-node and sharp from npm."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import as_pillow_decodes, write_photos
from PIL import Image

from vgg_runtime import Classifier
from vgg_runtime.bundle.directory import GOLDEN, Bundle
from vgg_runtime.bundle.manifest import Variant
from vgg_runtime.imaging.folders import find_images
from vgg_runtime.metrics import snr_db

PACKAGE = Path(__file__).parents[2] / "examples" / "node"

# In dB, of outputs in Node.js relative to those of Python, whose engine is of another release: sums in another order,
# and activations rounded to 8 bits in between.
LEAST_SNR_DB = {"fp32": 100, "fp16": 50} | dict.fromkeys(
    ("int8-dynamic", "int8-static", "int8-weights", "int4-weights"), 40
)


@pytest.fixture(scope="module")
def node() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run node in the package."""
    if not (PACKAGE / "node_modules" / "onnxruntime-node").is_dir():
        pytest.skip("examples/node is not installed: make build/node/ready does it, if npm is there")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = ["node", *map(str, arguments)]
        return subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def evaluate(node: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Any]:
    """Run the body of a function with ``Classifier`` and ``decode``, and return its result."""

    def evaluate(body: str, **names: Any) -> Any:
        constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in names.items())
        modules = 'import { Classifier } from "./classifier.js";\nimport { decode } from "./decoding.js";\n'
        result = f"process.stdout.write(JSON.stringify(await (async () => {{ {body} }})()));"
        done = node("--input-type=module", "--eval", modules + constants + result)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return evaluate


@pytest.mark.parametrize("precision", LEAST_SNR_DB)
@pytest.mark.parametrize("kind", ["whole", "embedded"])
def test_variant_gives_the_outputs_of_python(
    evaluate, kind: str, precision: str, example: Any, whole_bundle: Bundle, embedded_bundle: Bundle
) -> None:
    bundle = whole_bundle if kind == "whole" else embedded_bundle
    images = find_images([example.images])
    outputs = evaluate(
        """
        const classifier = await Classifier.open(directory, { variant, threads: 1 });
        await classifier.selfTest();
        const outputs = [];
        for (const file of files) outputs.push([...(await classifier.logits(await classifier.preprocess(file)))]);
        await classifier.close();
        return outputs;
        """,
        directory=str(bundle.directory),
        variant=f"onnx-{precision}",
        files=[str(image) for image in images],
    )
    with Classifier.open(bundle.directory, variant=f"onnx-{precision}", device="cpu") as classifier:
        expected = np.stack([classifier.logits(classifier.preprocess(image)[None])[0] for image in images])
    assert snr_db(expected, np.array(outputs)) > LEAST_SNR_DB[precision]
    assert np.array_equal(np.argmax(outputs, axis=1), expected.argmax(axis=1))


def test_files_decode_to_the_pixels_of_pillow(evaluate, tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    files = [file for file in sorted((tmp_path / "photos").iterdir()) if file.suffix != ".bmp"]
    decoded = evaluate(
        """
        const { createHash } = await import("node:crypto");
        return Promise.all(files.map(async (file) => {
          const { image, orientation } = await decode(file);
          const rgb = Uint8Array.from(image.data.filter((_, i) => i % 4 !== 3));
          return [file, image.width, image.height, orientation, [...createHash("sha256").update(rgb).digest()]];
        }));
        """,
        files=[str(file) for file in files],
    )
    assert decoded == [[str(file), *as_pillow_decodes(file)] for file in files]
    assert len(files) > 35


def test_images_whose_pixels_would_differ_are_refused(evaluate, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tiff")
    Image.new("CMYK", (8, 8)).save(tmp_path / "cmyk.jpg")
    Image.new("CMYK", (8, 8)).save(tmp_path / "cmyk.tiff")
    (tmp_path / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    (tmp_path / "text.png").write_text("not an image")
    refused = {
        "deep.png": "the image has 16 bits per channel; 8-bit images are accepted.",
        "float.tiff": "the image is b-w of float values; RGB and grey of 8 bits are accepted.",
        "cmyk.jpg": "the image is CMYK, which is converted unlike Pillow does it.",
        "cmyk.tiff": "the image is cmyk of uchar values; RGB and grey of 8 bits are accepted.",
        "drawing.svg": "the image is svg; jpeg, png, webp, gif, tiff are accepted.",
        "text.png": "the image cannot be decoded: Input buffer contains unsupported image format",
        "none.png": f"{tmp_path / 'none.png'} cannot be read: ENOENT.",
    }
    refusals = evaluate(
        "return Promise.all(files.map((file) => decode(file).catch(({ name, message }) => [name, message])));",
        files=[str(tmp_path / name) for name in refused],
    )
    assert refusals == [["ImageError", message] for message in refused.values()]


def test_command_prints_what_vgg_run_prints(node, example: Any, example_bundle: Bundle) -> None:
    arguments = ["--top-k", "3", "--variant", "onnx-fp32", example_bundle.directory, *find_images([example.images])[:3]]
    vgg_run = [Path(sys.executable).with_name("vgg-run"), "predict", "--device", "cpu", *arguments]
    assert node("predict.js", *arguments).stdout == subprocess.check_output(map(str, vgg_run), text=True)


def test_refused_image_does_not_stop_the_others(node, example: Any, example_bundle: Bundle) -> None:
    image = find_images([example.images])[0]
    done = node("predict.js", "--variant", "onnx-fp32", example_bundle.directory, "none.png", image)
    assert done.returncode == 3
    assert done.stderr == "error: none.png: none.png cannot be read: ENOENT.\n"
    assert done.stdout.startswith(f"{image}\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "error: a bundle and at least one image are needed.\n       usage: "),
        (["--gpu"], 2, "error: Unknown option '--gpu'."),
        (["--threads", "2.5", "BUNDLE", "x.png"], 2, "error: threads must be an integer >= 0, got 2.5.\n"),
        (["--variant", "onnx-fp8", "BUNDLE", "x.png"], 3, "error: the bundle has no ONNX variant 'onnx-fp8'."),
        (["/nowhere", "x.png"], 3, "error: /nowhere/bundle.json cannot be read: ENOENT.\n       Name a bundle"),
    ],
)
def test_refusal_says_what_is_accepted(
    node, arguments: list[str], code: int, message: str, example_bundle: Bundle
) -> None:
    done = node("predict.js", *(str(example_bundle.directory) if each == "BUNDLE" else each for each in arguments))
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(message)


@pytest.mark.parametrize("name", [GOLDEN, "model"])
def test_changed_file_is_refused_by_its_checksum(node, name: str, example_bundle: Bundle, tmp_path: Path) -> None:
    bundle = shutil.copytree(example_bundle.directory, tmp_path / "copy.bundle")
    variant: Variant = example_bundle.manifest.variant("onnx-fp32")
    file = bundle / (variant.file if name == "model" else name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    done = node("predict.js", "--variant", "onnx-fp32", bundle, "x.png")
    assert done.returncode == 4
    assert done.stderr.startswith(f"error: {file.relative_to(bundle)} was changed after it was written")
