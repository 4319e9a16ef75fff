"""examples/c: a variant with embedded preprocessing in C, with the ONNX Runtime of this environment."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from vgg_runtime import Classifier, Preprocessing
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.imaging.folders import find_images

ROOT = Path(__file__).parents[2]
HEADERS = (ROOT / "build" / "c", Path("/usr/include/onnxruntime"), Path("/usr/local/include/onnxruntime"))
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")

Classify = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Classify:
    """Run the program, compiled as the page on it says."""
    headers = [folder for folder in HEADERS if (folder / "onnxruntime_c_api.h").is_file()]
    libraries = list((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1.*"))
    compiler = shutil.which("cc")
    if not (compiler and headers and libraries and Path("/usr/include/cjson/cJSON.h").is_file()):
        pytest.skip("no C compiler, headers of cJSON or of ONNX Runtime (make build/c/ready), or its library, here")
    folder = tmp_path_factory.mktemp("c")
    for name in ("libonnxruntime.so.1", "libonnxruntime.so"):
        (folder / name).symlink_to(libraries[0])
    link = (f"-L{folder}", f"-Wl,-rpath,{folder}", "-lonnxruntime", "-lcjson")
    source, program = ROOT / "examples" / "c" / "classify.c", folder / "classify"
    subprocess.run([compiler, *FLAGS, f"-I{headers[0]}", source, "-o", program, *link], check=True)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def picture(example: Any, tmp_path: Path) -> Path:
    return as_pgm(find_images([example.images])[0], tmp_path)


def as_pgm(image: Path, folder: Path) -> Path:
    file = folder / f"{image.parent.name}-{image.stem}.pgm"
    with Image.open(image) as picture:
        picture.convert("L").save(file)
    return file


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-dynamic", "int8-static", "int8-weights", "int4-weights"])
def test_program_gives_the_answers_of_python(
    classify: Classify, precision: str, example: Any, embedded_bundle: Bundle, tmp_path: Path
) -> None:
    variant, images = f"onnx-{precision}", find_images([example.images])[::4]
    with Classifier(embedded_bundle.directory, variant=variant, device="cpu", threads=1) as classifier:
        for image in images:
            index, output, label = classify(embedded_bundle.directory, variant, as_pgm(image, tmp_path)).stdout.split()
            outputs = classifier.logits(classifier.preprocess(image)[None])[0]
            assert (label, int(index)) == (classifier.predict(image)[0].label, outputs.argmax())
            np.testing.assert_allclose(float(output), outputs.max(), rtol=1e-4)


def test_colour_image_is_read_channel_by_channel(classify: Classify, colour_bundle: Bundle, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "colour.ppm")
    index, output = classify(colour_bundle.directory, "onnx-fp32", tmp_path / "colour.ppm").stdout.split()
    with Classifier(colour_bundle.directory, device="cpu") as classifier:
        (outputs,) = classifier.logits(pixels[None])
    assert int(index) == outputs.argmax()
    np.testing.assert_allclose(float(output), outputs.max(), rtol=1e-4)


@pytest.fixture
def colour_bundle(untimed: None, tmp_path: Path) -> Bundle:
    from torch import nn

    from vgg_export import export

    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()
    preprocessing = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))
    return export(
        network,
        tmp_path / "colour.bundle",
        formats="onnx",
        preprocess=preprocessing,
        input_size=8,
        embed_preprocessing=True,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"P5 28 28 255\n" + bytes(783), "is cut off"),
        (b"P5 14 56 255\n" + bytes(784), "has another size than the network takes"),
        (b"P6 28 28 255\n" + bytes(2352), "is not a PGM (P5)"),
        (b"P5 28 28 65535\n" + bytes(1568), "is not a binary PPM or PGM of 8 bits"),
        (b"P5 28", "is not a binary PPM or PGM of 8 bits"),
        (None, "cannot be opened"),
    ],
)
def test_wrong_image_is_refused(
    classify: Classify, content: bytes | None, message: str, embedded_bundle: Bundle, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "image.pgm").write_bytes(content)
    done = classify(embedded_bundle.directory, "onnx-fp32", tmp_path / "image.pgm")
    assert (done.returncode, done.stderr) == (3, f"error: {tmp_path / 'image.pgm'}: {message}\n")


def test_wrong_bundle_is_refused(
    classify: Classify, picture: Path, example_bundle: Bundle, embedded_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "bundle.json").write_text("{")
    refusals = {
        (example_bundle.directory, "onnx-fp32"): "export with --embed-preprocessing",
        (tmp_path, "onnx-fp32"): f"{tmp_path}/bundle.json: is not JSON",
        (tmp_path / "none", "onnx-fp32"): f"{tmp_path}/none/bundle.json: cannot be opened",
        (embedded_bundle.directory, "onnx-fp8"): "onnx-fp8/model.onnx",
    }
    for (bundle, variant), message in refusals.items():
        done = classify(bundle, variant, picture)
        assert done.returncode == 3
        assert message in done.stderr
