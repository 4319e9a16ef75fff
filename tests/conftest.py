"""What most tests share: the trained example, and the bundle that it exports to."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings
from PIL import Image

from vgg_bench.results import Machine, Method, Results
from vgg_runtime._internal.cpu import available_threads
from vgg_runtime.bundle.directory import Bundle, open_bundle
from vgg_runtime.bundle.manifest import Manifest
from vgg_web.engine import ENGINE_FILES, INSTALLED_HERE

DATA = Path(__file__).parent / "data"

MadeOnce = Callable[[str, Callable[[Path], object]], Path]

# A deadline is a timed assertion: a machine that does something else besides would miss it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Give each of xdist's workers its share of the cores: threads that share one spend their time waiting."""
    if workers := getattr(config.option, "numprocesses", None):
        # For the workers: a conftest may import PyTorch, which counts the cores once, before they get their share.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_threads() // workers)))
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None and hasattr(os, "sched_setaffinity"):
        cores, workers = sorted(os.sched_getaffinity(0)), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) :: workers] or cores)


@dataclass(frozen=True)
class Example:
    """The trained slim VGG of examples/fashion_mnist: 28 x 28 grey images, ten classes."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "slim_vgg.pth"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def options(self) -> dict[str, Any]:
        """What the demo gives to export()."""
        return {
            "preprocess": self.folder / "preprocess.json",
            "labels": self.folder / "class_indices.json",
            "samples": self.images,
        }


@dataclass(frozen=True)
class KeyPair:
    """PEM files as OpenSSL writes them."""

    private: Path
    public: Path


@pytest.fixture(scope="session")
def make_keys() -> Callable[[Path, str], KeyPair]:
    """Write a new Ed25519 key to NAME.pem in a folder, and its public part to NAME.pub.pem."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    def make(folder: Path, name: str) -> KeyPair:
        key, keys = Ed25519PrivateKey.generate(), KeyPair(folder / f"{name}.pem", folder / f"{name}.pub.pem")
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        keys.private.write_bytes(private)
        keys.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return keys

    return make


@pytest.fixture(scope="session")
def install_engine() -> Callable[[Path], Path]:
    """Write what npm installs of onnxruntime-web below a folder, with empty files: for pages that are not run."""

    def install(folder: Path) -> Path:
        package = folder / INSTALLED_HERE
        (package / "dist").mkdir(parents=True)
        (package / "package.json").write_text('{"name": "onnxruntime-web", "version": "1.30.0"}')
        for file in ENGINE_FILES:
            (package / "dist" / file).touch()
        return package

    return install


@pytest.fixture
def signer(make_keys: Callable[[Path, str], KeyPair], tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path, "signer")


@pytest.fixture(scope="session", autouse=True)
def signals_reach_children() -> Iterator[None]:
    """What signals do to a command can be tested where the tests themselves are started to ignore them.

    Shells start background jobs with SIGINT ignored, and nohup does so with SIGHUP. A child process inherits that, but
    not a handler; one that does nothing leaves this process as deaf as it was.
    """
    names = ("SIGINT", "SIGHUP", "SIGTERM")
    ignored = [
        number for number in signal.Signals if number.name in names and signal.getsignal(number) is signal.SIG_IGN
    ]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of this session, the same for all of xdist's workers."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def made_once(shared_folder: Path) -> MadeOnce:
    """Return the path of a shared file or folder, written by the first worker that asks for it while others wait."""

    def make(name: str, write: Callable[[Path], object]) -> Path:
        """Return the path ``name``; ``write`` puts it there whole or not at all."""
        path = shared_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                write(path)
        return path

    return make


@pytest.fixture(scope="session", autouse=True)
def own_cache(shared_folder: Path) -> Iterator[None]:
    """Ranges are neither taken from the user's cache nor left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGG_DEPLOY_CACHE", str(shared_folder / "cache"))
        yield


class HeldFile:
    """A file that keeps its reader waiting until ``leave`` is set, and then is none."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def read(self, size: int = -1) -> bytes:
        self.entered.set()
        assert self.leave.wait(timeout=30)
        return b""

    def seek(self, *position: int) -> int:
        return 0

    def tell(self) -> int:
        return 0


@pytest.fixture
def held() -> HeldFile:
    """An image for a queue that is to stay busy."""
    return HeldFile()


@pytest.fixture(autouse=True)
def operators_are_read_once() -> None:
    """PyTorch's exporter parses the sources of 500 operators anew each time: a third of what a small network takes."""
    if module := sys.modules.get("torch.onnx._internal.exporter._registration"):
        registry = module.ONNXRegistry
        if isinstance(vars(registry)["from_torchlib"], classmethod):
            registry.from_torchlib = staticmethod(cache(registry.from_torchlib))


@pytest.fixture(autouse=True)
def exporter_is_not_measured() -> None:
    """Until Python 3.12 coverage pays for lines of others too, of which PyTorch's exporter runs millions."""
    torch_onnx: Any = sys.modules.get("torch.onnx")
    if sys.gettrace() and torch_onnx and not hasattr(torch_onnx.export, "__wrapped__"):
        torch_onnx.export = _untraced(torch_onnx.export)


def _untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return function(*arguments, **keywords)
        finally:
            sys.settrace(tracer)

    return call


@pytest.fixture(scope="session")
def example() -> Example:
    return Example(Path(__file__).parent.parent / "examples" / "fashion_mnist")


@pytest.fixture(scope="session")
def example_bundle(example: Example, made_once: MadeOnce) -> Bundle:
    """The example as the demo exports it. Tests read it and do not change it."""
    return open_bundle(made_once("example/slim_vgg.bundle", partial(_untimed_export, example, example.options)))


@pytest.fixture(scope="session")
def calibration_photos(example: Example, made_once: MadeOnce) -> Path:
    """A folder of 300 real images that the example was trained on, in class folders."""
    names = json.loads((example.folder / "class_indices.json").read_text())

    def write(folder: Path) -> None:
        unfinished = folder.with_name("photos.partial")
        for i, (image, label) in enumerate(zip(*fashion_mnist("train"), strict=True)):
            (unfinished / names[str(label)]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(unfinished / names[str(label)] / f"{i:05d}.png")
        unfinished.rename(folder)

    return made_once("photos", write)


@pytest.fixture(scope="session")
def train_photos() -> tuple[np.ndarray, np.ndarray]:
    """300 images that the example was trained on, uint8 (300, 28, 28), and their classes."""
    return fashion_mnist("train")


@pytest.fixture(scope="session")
def test_photos() -> tuple[np.ndarray, np.ndarray]:
    """500 images that the example was not trained on, uint8 (500, 28, 28), and their classes."""
    return fashion_mnist("test")


@pytest.fixture(scope="session")
def whole_bundle(example: Example, calibration_photos: Path, made_once: MadeOnce) -> Bundle:
    """The example in every variant that there is, not timed. Tests read it and do not change it."""
    options = _every_variant(example, calibration_photos)
    return open_bundle(made_once("whole/slim_vgg.bundle", partial(_untimed_export, example, options)))


@pytest.fixture(scope="session")
def embedded_bundle(example: Example, calibration_photos: Path, made_once: MadeOnce) -> Bundle:
    """The same with ``--embed-preprocessing``."""
    options = _every_variant(example, calibration_photos) | {"embed_preprocessing": True}
    return open_bundle(made_once("embedded/slim_vgg.bundle", partial(_untimed_export, example, options)))


def _every_variant(example: Example, calibration: Path) -> dict[str, Any]:
    from vgg_export.variants.registry import QUANTIZE_OPTIONS

    return {"quantize": QUANTIZE_OPTIONS, "calibration": calibration, **example.options}


def _untimed_export(example: Example, options: dict[str, Any], bundle: Path) -> None:
    pytest.importorskip("torch", reason="exporting needs torch, which the runtime's own environments lack")
    from vgg_export import export

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vgg_export.pipeline.time_variants", nothing_is_timed)
        export(example.checkpoint, bundle, **options)


@pytest.fixture(scope="session")
def untimed_export() -> Callable[[Example, dict[str, Any], Path], None]:
    """Export the example, with options, to a bundle whose variants are not timed; for fixtures that are shared."""
    return _untimed_export


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports do not measure latencies, which takes longer than all the rest."""
    monkeypatch.setattr("vgg_export.pipeline.time_variants", nothing_is_timed)


def nothing_is_timed(bundle: Path, manifest: Manifest, on_step: object) -> Results:
    return Results("", "", "", ("onnx-fp32", "onnxruntime"), (), Machine("", "", 1, 1.0), Method("", 0, 0.0, 0, 0))


def fashion_mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (images, 28, 28) and classes uint8 (images,): 300 of "train" or 500 of "test"."""
    with np.load(DATA / "fashion_mnist.npz") as arrays:
        return arrays[f"{split}_images"], arrays[f"{split}_classes"]
