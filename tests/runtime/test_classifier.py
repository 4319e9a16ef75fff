from __future__ import annotations

import inspect
import io
import itertools
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vgg_runtime import Classifier, Manifest, Prediction, loading
from vgg_runtime._internal.cpu import cpu_model_name
from vgg_runtime.bundle.directory import Bundle
from vgg_runtime.bundle.embedded_manifest import METADATA_KEY
from vgg_runtime.bundle.manifest import MAX_MANIFEST_BYTES, InputSpec, OutputSpec
from vgg_runtime.errors import BundleError, ImageError, MissingCapabilityError, UsageError, VerificationError
from vgg_runtime.imaging.preprocessing import Preprocessing

RANDOM = np.random.default_rng(0).integers(0, 256, (40, 12, 16, 3), dtype=np.uint8)


def planes(batch: int = 2, **shape: Any) -> np.ndarray:
    return np.random.default_rng(0).random((batch, 3, 6, 8), dtype=np.float32)


def test_an_image_gives_its_labels_best_first(bundle: Path, photos: Path) -> None:
    with Classifier.open(bundle, device="cpu") as classifier:
        predictions = classifier.predict(photos / "lime.png")
    share = np.exp(10) / (np.exp(10) + 2)
    assert predictions[0] == Prediction("lime", 1, pytest.approx(share))
    assert [(other.label, other.index) for other in predictions[1:]] == [
        ("red", 0),
        ("blue", 2),
    ]  # a tie keeps the order
    assert sum(each.probability for each in predictions) == pytest.approx(1)


def test_open_is_the_constructor_by_another_name(bundle: Path, photos: Path) -> None:
    assert inspect.signature(Classifier.open).parameters == inspect.signature(Classifier).parameters
    options: dict[str, Any] = {"variant": "onnx-fp32", "device": "cpu", "threads": 1, "max_pixels": 200}
    with Classifier(bundle, **options) as made, Classifier.open(bundle, **options) as opened:
        assert repr(made) == repr(opened)
        assert (made.max_pixels, opened.max_pixels) == (200, 200)
        assert made.predict(photos / "red.png") == opened.predict(photos / "red.png")


def test_open_of_a_subclass_makes_one_of_it(bundle: Path) -> None:
    class Own(Classifier):
        pass

    with Own.open(bundle, device="cpu") as classifier:
        assert type(classifier) is Own


def test_its_repr_says_what_runs_where(bundle: Path) -> None:
    classifier = Classifier(bundle, device="cpu", threads=2)
    text = f"Classifier({str(bundle)!r}, variant='onnx-fp32', backend='onnxruntime', device='cpu', threads=2)"
    assert repr(classifier) == text
    classifier.close()
    assert repr(classifier) == f"<closed {text}>"


def test_no_more_than_top_k_are_given(bundle: Path, photos: Path) -> None:
    with Classifier.open(bundle) as classifier:
        assert [len(classifier.predict(photos / "red.png", top_k=k)) for k in (1, 2, 3, 99)] == [1, 2, 3, 3]
        with pytest.raises(UsageError, match="`top_k` must be an integer >= 1, got 0"):
            classifier.predict(photos / "red.png", top_k=0)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_a_batch_gives_what_single_images_give(bundle: Path, photos: Path, batch_size: int) -> None:
    images = [photos / "red.png", (photos / "lime.png").read_bytes(), Image.open(photos / "blue.png"), *RANDOM[:4]]
    with Classifier.open(bundle) as classifier:
        together = classifier.predict_batch(iter(images), batch_size=batch_size)
        assert together == [classifier.predict(image) for image in images]
        assert classifier.predict_batch([]) == []


@pytest.mark.parametrize("fixed", ["batch", 3])
@pytest.mark.parametrize(("name", "value"), [("batch_size", 0), ("batch_size", -1), ("batch_size", 1.5), ("top_k", 0)])
def test_counts_that_are_none_are_refused(
    make_bundle: Callable[..., Path], fixed: str | int, name: str, value: Any
) -> None:
    with Classifier.open(make_bundle(batch=fixed)) as classifier:
        with pytest.raises(UsageError, match=f"`{name}` must be an integer >= 1, got {value!r}"):
            classifier.predict_batch(RANDOM[:4], **{name: value})
        with pytest.raises(UsageError, match=f"`{name}` must be an integer >= 1, got {value!r}"):
            classifier.predict_batch([], **{name: value})


def test_reused_array_gives_each_of_its_images(bundle: Path) -> None:
    def frames(buffer: Any) -> Iterator[Any]:
        for image in RANDOM[:20]:
            np.asarray(buffer).reshape(RANDOM[0].shape)[:] = image
            yield buffer

    with Classifier.open(bundle, threads=2) as classifier:
        expected = [classifier.predict(image) for image in RANDOM[:20]]
        assert list(classifier.predict_iter(frames(np.empty_like(RANDOM[0])), batch_size=2)) == expected


def test_reused_buffer_of_encoded_images_gives_each(bundle: Path) -> None:
    encoded = []
    for image in RANDOM[:20]:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "BMP")  # all of one size
        encoded.append(file.getvalue())

    def frames(buffer: bytearray) -> Iterator[bytearray]:
        for content in encoded:
            buffer[:] = content
            yield buffer

    with Classifier.open(bundle, threads=2) as classifier:
        expected = [classifier.predict(image) for image in encoded]
        assert list(classifier.predict_iter(frames(bytearray(encoded[0])), batch_size=2)) == expected


def test_one_folder_is_as_good_as_a_list_of_it(bundle: Path, photos: Path) -> None:
    with Classifier.open(bundle) as classifier:
        assert dict(classifier.predict_files(str(photos))) == dict(classifier.predict_files([photos]))


def test_it_cannot_be_sent_to_another_process_and_says_what_can(bundle: Path) -> None:
    with Classifier.open(bundle) as classifier, pytest.raises(UsageError, match="cannot be pickled"):
        pickle.dumps(classifier)


def test_onnx_is_for_backends_that_run_it(bundle: Path) -> None:
    with pytest.raises(UsageError, match="torchscript does not run onnx files"):
        Classifier.open(bundle, backend="torchscript")


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_model_of_fixed_batch_size_takes_any_number_of_images(make_bundle: Callable[..., Path], count: int) -> None:
    with Classifier.open(make_bundle(batch=3)) as classifier:
        predictions = classifier.predict_batch(RANDOM[:count], batch_size=2)
        direct = classifier.logits(np.stack([classifier.preprocess(image) for image in RANDOM[:3]]))
    assert len(predictions) == count
    assert predictions[0] == classifier.rank(direct)[0]


def test_a_bundle_without_labels_gives_indices(make_bundle: Callable[..., Path], photos: Path) -> None:
    with Classifier.open(make_bundle(labels=None)) as classifier:
        assert classifier.predict(photos / "blue.png", top_k=1)[0].label == "2"
        assert classifier.labels == ("0", "1", "2")


def test_logits_are_the_raw_model(bundle: Path) -> None:
    batch = planes()
    with Classifier.open(bundle) as classifier:
        np.testing.assert_allclose(classifier.logits(batch), 10 * batch.mean(axis=(2, 3)), rtol=1e-5)
        np.testing.assert_array_equal(classifier.logits(np.asfortranarray(batch)), classifier.logits(batch))


@pytest.mark.parametrize("fixed", ["batch", 3])
def test_logits_of_one_preprocessed_image_are_one_row(make_bundle: Callable[..., Path], fixed: str | int) -> None:
    with Classifier.open(make_bundle(batch=fixed)) as classifier:
        images = [classifier.preprocess(image) for image in RANDOM[:3]]
        together = classifier.logits(np.stack(images))
        for image, row in zip(images, together, strict=True):
            np.testing.assert_allclose(classifier.logits(image), row[np.newaxis], rtol=1e-6)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (planes().astype(np.float64), r"float64 \[2, 3, 6, 8\]"),
        (planes().astype(">f4"), "float32|>f4"),
        (planes()[0, :, :5], r"shape \[3, 5, 8\]"),
        (planes()[0, 0], r"shape \[6, 8\]; .* or one image without the batch"),
        (planes()[:, :, :5], r"shape \[2, 3, 5, 8\]"),
        (planes()[:, :1], r"shape \[2, 1, 6, 8\]"),
        (planes().transpose(0, 2, 3, 1), r"shape \[2, 6, 8, 3\]"),
        (planes()[:0], r"shape \[0, 3, 6, 8\]"),
        (np.full_like(planes(), np.nan), "not finite"),
        (np.full_like(planes(), np.inf), "not finite"),
        ([[1.0]], "the batch is list"),
        (None, "the batch is NoneType"),
    ],
)
def test_a_batch_that_the_network_does_not_take_is_refused(bundle: Path, batch: Any, message: str) -> None:
    with Classifier.open(bundle) as classifier, pytest.raises(ImageError, match=message):
        classifier.logits(batch)


def test_a_batch_of_another_size_than_the_fixed_one_is_refused(make_bundle: Callable[..., Path]) -> None:
    with Classifier.open(make_bundle(batch=3)) as classifier:
        assert classifier.logits(planes(3)).shape == (3, 3)
        with pytest.raises(ImageError, match=r"\[2, 3, 6, 8\]; the network takes float32 \[3, 3, 6, 8\]"):
            classifier.logits(planes(2))


def test_image_of_another_size_is_refused(make_bundle: Callable[..., Path]) -> None:
    with Classifier.open(make_bundle(preprocessing=Preprocessing(resize=6))) as classifier:
        assert classifier.preprocess(Image.new("RGB", (40, 30))).shape == (3, 6, 8)
        with pytest.raises(ImageError, match="6 x 6 pixels after preprocessing; the network takes 8 x 6"):
            classifier.preprocess(Image.new("RGB", (30, 30)))


def test_max_pixels_is_that_of_the_classifier(bundle: Path, photos: Path) -> None:
    with Classifier.open(bundle, max_pixels=199) as classifier, pytest.raises(ImageError, match="limit of 199"):
        classifier.predict(photos / "red.png")


def test_a_closed_classifier_says_so(bundle: Path, photos: Path) -> None:
    classifier = Classifier.open(bundle)
    classifier.close()
    classifier.close()
    with pytest.raises(UsageError, match="is closed"):
        classifier.predict(photos / "red.png")


def test_threads_sharing_a_classifier_get_what_one_gets(bundle: Path) -> None:
    with Classifier.open(bundle, threads=1) as classifier, ThreadPoolExecutor(8) as pool:
        serial = [classifier.predict(image) for image in RANDOM]
        assert list(pool.map(classifier.predict, RANDOM)) == serial


def test_sixteen_threads_give_the_serial_answers(
    example_bundle: Bundle, test_photos: tuple[np.ndarray, np.ndarray]
) -> None:
    images = list(test_photos[0])
    with Classifier.open(example_bundle.directory, threads=2, device="cpu") as classifier:
        serial = [classifier.predict(image) for image in images]
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(classifier.predict, images * 8)) == serial * 8


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_each_image_is_predicted_or_refused_in_its_turn(bundle: Path, photos: Path, batch_size: int) -> None:
    images = [RANDOM[0], b"no image", photos / "red.png", photos / "none.png", b"", RANDOM[1]]
    with Classifier.open(bundle, device="cpu") as classifier:
        predictions = list(classifier.predict_iter(images, batch_size=batch_size, on_error="return"))
        assert [isinstance(each, ImageError) for each in predictions] == [False, True, False, True, True, False]
        assert predictions[2] == classifier.predict(photos / "red.png")
        assert "there is no file" in str(predictions[3])
        with pytest.raises(ImageError, match="not in an image format"):
            classifier.predict_batch(images, batch_size=batch_size)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vgg-")]


def test_a_refused_image_is_raised_after_those_before_it(bundle: Path) -> None:
    with Classifier(bundle, device="cpu", threads=1) as classifier:
        results = classifier.predict_iter([RANDOM[0], RANDOM[1], b"no image", RANDOM[2]], batch_size=4)
        assert [next(results), next(results)] == [classifier.predict(image) for image in RANDOM[:2]]
        with pytest.raises(ImageError, match="not in an image format"):
            next(results)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("vgg-")]
        assert list(results) == []


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"on_error": "skip"}, "`on_error` must be 'raise' or 'return', got 'skip'"),
        ({"on_error": None}, "`on_error` must be 'raise' or 'return', got None"),
        ({"top_k": 0}, "`top_k` must be an integer >= 1, got 0"),
        ({"batch_size": 0}, "`batch_size` must be an integer >= 1, got 0"),
    ],
)
def test_predict_iter_refuses_options_before_any_image(bundle: Path, option: dict[str, Any], message: str) -> None:
    with Classifier(bundle, device="cpu") as classifier, pytest.raises(UsageError, match=message):
        classifier.predict_iter(RANDOM, **option)


def test_files_and_the_images_below_folders_are_predicted(bundle: Path, photos: Path) -> None:
    (photos / "notes.jpg").write_text("hello")
    with Classifier.open(bundle, device="cpu") as classifier:
        predictions = dict(classifier.predict_files([photos], top_k=1, batch_size=2))
        assert [file.stem for file in predictions] == ["blue", "lime", "notes", "red"]
        assert isinstance(predictions.pop(photos / "notes.jpg"), ImageError)
        assert predictions == {file: classifier.predict(file, top_k=1) for file in predictions}
        with pytest.raises(ImageError, match="there is no file"):
            classifier.predict_batch([photos / "none.png"])
        with pytest.raises(ImageError, match="contains no images"):
            classifier.predict_files([bundle])


def test_one_pillow_image_or_file_may_be_in_a_batch_many_times(bundle: Path, photos: Path) -> None:
    with Classifier.open(bundle, threads=4, device="cpu") as classifier, (photos / "red.png").open("rb") as file:
        images = [Image.open(photos / "red.png")] * 20 + [file] * 20
        assert classifier.predict_batch(images) == [classifier.predict(photos / "red.png")] * 40


def test_images_of_any_number_are_taken_as_they_are_needed(bundle: Path) -> None:
    images = itertools.cycle(RANDOM)
    with Classifier.open(bundle, device="cpu") as classifier:
        predictions = classifier.predict_iter(images, batch_size=4)
        assert [next(predictions) for _ in range(10)] == [classifier.predict(image) for image in RANDOM[:10]]


def test_preprocessed_planes_are_taken_for_what_they_are(bundle: Path) -> None:
    with Classifier.open(bundle, device="cpu") as classifier:
        batch = np.stack([classifier.preprocess(image) for image in RANDOM[:3]])
        expected = classifier.predict_batch(RANDOM[:3])
        assert classifier.predict_batch(batch) == expected
        assert [classifier.predict(each) for each in (batch[0], batch[1:2])] == expected[:2]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((6, 8, 3), np.float32), r"the array is float32 \[6, 8, 3\]; preprocessed planes are .* \[3, 6, 8\]"),
        (np.zeros((2, 3, 6, 8), np.float32), r"float32 \[2, 3, 6, 8\]"),
        (np.zeros((1, 6, 8), np.float32), r"float32 \[1, 6, 8\]"),
        (np.full((3, 6, 8), np.nan, np.float32), "not finite"),
        (np.zeros((3, 6, 8), np.float64), "dtype float64; an image is uint8"),
    ],
)
def test_float_arrays_of_another_shape_are_refused(bundle: Path, array: np.ndarray, message: str) -> None:
    with Classifier.open(bundle, device="cpu") as classifier, pytest.raises(ImageError, match=message):
        classifier.predict(array)


def test_frames_in_bgr_give_what_they_give_in_rgb(bundle: Path) -> None:
    frames = RANDOM[:4, :, :, ::-1]  # as OpenCV reads them
    with Classifier.open(bundle, device="cpu") as classifier:
        expected = [classifier.predict(image) for image in RANDOM[:4]]
        assert [classifier.predict(frame, channels="BGR") for frame in frames] == expected
        assert classifier.predict_batch(frames, channels="BGR") == expected
        assert classifier.predict(frames[0]) != expected[0]


def test_bgr_of_preprocessed_planes_is_refused(bundle: Path) -> None:
    with Classifier.open(bundle, device="cpu") as classifier:
        with pytest.raises(UsageError, match=r"uint8 arrays .*, got float32 \[3, 6, 8\]"):
            classifier.predict(planes()[0], channels="BGR")
        with pytest.raises(UsageError, match=r"got (Posix|Windows)Path"):
            classifier.predict_batch([Path("photo.png")], channels="BGR")


@pytest.mark.parametrize("image", ["photo.png", Path("photo.png"), b"photo", RANDOM[0], RANDOM[0, 0]])
def test_one_image_where_several_are_taken_is_a_mistake(bundle: Path, image: Any) -> None:
    with (
        Classifier.open(bundle, device="cpu") as classifier,
        pytest.raises(UsageError, match="expected several images, got one"),
    ):
        classifier.predict_batch(image)


FORK = """
import asyncio, os, sys
import numpy as np
from vgg_runtime import AsyncClassifier, BatchingQueue, Classifier
from vgg_runtime.errors import UsageError

def refusal(call):
    try:
        call()
    except UsageError as error:
        return "forked" in str(error)

image = np.zeros((6, 8, 3), np.uint8)
batch = np.random.default_rng(0).random((100, 3, 6, 8), dtype=np.float32)
classifier = Classifier.open(sys.argv[1], device="cpu", threads=2)
before = classifier.logits(batch)
queue, face = BatchingQueue(classifier), AsyncClassifier(classifier)
answer = queue.predict(image)
assert asyncio.run(face.predict(image)) == answer
child = os.fork()
if not child:
    same = all(np.array_equal(classifier.logits(batch), before) for _ in range(2))
    threads = len(os.listdir("/proc/self/task"))
    same &= refusal(lambda: queue.predict(image)) and refusal(lambda: asyncio.run(face.predict(image)))
    queue.close()
    asyncio.run(face.close())
    with BatchingQueue(classifier) as another:
        same &= another.predict(image) == answer
    same &= classifier.predict_batch([image, image]) == [answer, answer]
    classifier.close()
    try:
        classifier.logits(batch)
    except UsageError:
        sys.exit(7 if same and threads > 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert np.array_equal(classifier.logits(batch), before)
assert queue.predict(image) == answer
queue.close()
asyncio.run(face.close())
"""


FORK_AND_BURST = """
import os, sys, threading
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from vgg_runtime import Classifier

batch = np.random.default_rng(0).random((4, 3, 6, 8), dtype=np.float32)
classifier = Classifier.open(sys.argv[1], device="cpu", threads=1)
before, load, loads, together = classifier.logits(batch), classifier._load, [], threading.Barrier(8)
child = os.fork()
if not child:
    classifier._load = lambda: loads.append(1) or load()
    def first(_):
        together.wait()
        return np.array_equal(classifier.logits(batch), before)
    with ThreadPoolExecutor(8) as pool:
        same = all(pool.map(first, range(8)))
    os._exit(7 if same and len(loads) == 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_of_the_threads_of_a_forked_child_one_loads_the_model(bundle: Path) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK_AND_BURST, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="it counts threads as Linux tells them")
def test_forked_child_predicts_the_same_and_ends(bundle: Path) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "gpu"}, "`device` must be 'auto', 'cpu', 'cuda' or 'cuda:N', got 'gpu'"),
        ({"device": "cuda:-1"}, "`device` must be 'auto', 'cpu', 'cuda' or 'cuda:N', got 'cuda:-1'"),
        ({"device": "cuda:1\n"}, "`device` must be 'auto', 'cpu', 'cuda' or 'cuda:N', got"),
        ({"device": 1}, "`device` must be 'auto', 'cpu', 'cuda' or 'cuda:N', got 1"),
        ({"threads": 0}, "`threads` must be an integer from 1 to 256, got 0"),
        ({"threads": 257}, "`threads` must be an integer from 1 to 256, got 257"),
        ({"threads": 1.5}, r"`threads` must be an integer from 1 to 256, got 1\.5"),
        ({"threads": "2"}, "`threads` must be an integer from 1 to 256, got '2'"),
        ({"max_pixels": 0}, "`max_pixels` must be an integer >= 1, got 0"),
        ({"max_pixels": None}, "`max_pixels` must be an integer >= 1, got None"),
    ],
)
def test_arguments_out_of_range_are_refused(bundle: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Classifier.open(bundle, **arguments)


def test_an_unknown_backend_is_refused(bundle: Path) -> None:
    with pytest.raises(MissingCapabilityError, match="unknown backend 'tensorrt'"):
        Classifier.open(bundle, backend="tensorrt")


def test_the_variant_is_the_one_asked_for_or_the_most_precise(make_bundle: Callable[..., Path]) -> None:
    bundle = make_bundle(weights={"onnx-int8-static": 1.0, "onnx-fp32": 10.0})
    for asked, variant, weight in ((None, "onnx-fp32", 10), ("onnx-int8-static", "onnx-int8-static", 1)):
        with Classifier.open(bundle, variant=asked) as classifier:
            assert classifier.variant == variant
            assert classifier.logits(np.ones((1, 3, 6, 8), np.float32))[0, 0] == pytest.approx(weight)
    with pytest.raises(BundleError, match=r"no variant 'onnx-fp16'(?s:.*)onnx-int8-static, onnx-fp32"):
        Classifier.open(bundle, variant="onnx-fp16")


class TestRecommendedVariant:
    @pytest.fixture
    def bundle(self, make_bundle: Callable[..., Path]) -> Path:
        return make_bundle(weights={"onnx-fp32": 10.0, "onnx-int8-static": 1.0})

    def opened(self, bundle: Path, variant: str | None = "recommended") -> tuple[str, str]:
        with Classifier.open(bundle, variant=variant) as classifier:
            return classifier.variant, classifier.variant_reason

    def measure(self, bundle: Path, variant: str, processor: str) -> None:
        measured = {"machine": {"processor": processor}, "recommended": variant}
        (bundle / "measured.json").write_text(json.dumps(measured))

    def test_it_is_the_one_that_was_the_best_on_this_cpu(self, bundle: Path) -> None:
        self.measure(bundle, "onnx-int8-static", cpu_model_name())
        assert self.opened(bundle) == ("onnx-int8-static", "recommended on the machine that exported")

    def test_another_cpu_is_told(self, bundle: Path) -> None:
        self.measure(bundle, "onnx-int8-static", "Abacus 3000")
        variant, reason = self.opened(bundle)
        assert variant == "onnx-int8-static"
        assert reason == "recommended on the machine that exported, which had another CPU: Abacus 3000"

    def test_untimed_bundle_gives_the_default_with_a_reason(self, bundle: Path) -> None:
        reason = "default, because no variant was timed when the bundle was exported"
        assert self.opened(bundle) == ("onnx-fp32", reason)

    @pytest.mark.parametrize(
        ("recommended", "reason"),
        [
            ("onnx-int8-static", "default; recommended on the machine that exported: onnx-int8-static"),
            ("onnx-fp32", "default, and recommended on the machine that exported"),
        ],
    )
    def test_the_default_tells_what_is_recommended(self, bundle: Path, recommended: str, reason: str) -> None:
        self.measure(bundle, recommended, cpu_model_name())
        assert self.opened(bundle, None) == ("onnx-fp32", reason)

    def test_a_damaged_measurement_is_an_error_to_those_who_ask(self, bundle: Path) -> None:
        (bundle / "measured.json").write_text("{")
        assert self.opened(bundle, None) == ("onnx-fp32", "default")
        with pytest.raises(BundleError, match=r"not in the form(?s:.*)Name one: onnx-fp32, onnx-int8-static"):
            self.opened(bundle)

    def test_a_lone_file_has_none(self, bundle: Path) -> None:
        with pytest.raises(UsageError, match="has no variants to choose from, got `variant='recommended'`"):
            self.opened(bundle / "onnx-fp32" / "model.onnx")


def test_a_bundle_without_fp32_gives_its_first_onnx_variant(make_bundle: Callable[..., Path]) -> None:
    bundle = make_bundle(weights={"onnx-int8-static": 1.0, "onnx-fp16": 10.0})
    with Classifier.open(bundle) as classifier:
        assert classifier.variant == "onnx-int8-static"


def test_a_bundle_without_variants_is_refused(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "empty.bundle").mkdir()
    manifest = Manifest.parse((make_bundle(variants=()) / "bundle.json").read_bytes(), source="test")
    (tmp_path / "empty.bundle" / "bundle.json").write_text(manifest.dump().replace(str(manifest.golden), ""))
    with pytest.raises(BundleError):
        Classifier.open(tmp_path / "empty.bundle")


def test_an_edited_manifest_is_refused(bundle: Path, edit_manifest: Callable[..., None]) -> None:
    edit_manifest(bundle, lambda data: data["preprocessing"].update(mean=[0.5, 0.5, 0.5]))
    with pytest.raises(BundleError, match=r"bundle\.json was changed after it was written: preprocessing of it"):
        Classifier.open(bundle)
    Classifier.open(bundle, verify=False).close()


@pytest.mark.parametrize("file", ["model.onnx", "model.onnx.data"])
def test_a_changed_model_gives_no_prediction(bundle: Path, photos: Path, file: str) -> None:
    with (bundle / "onnx-fp32" / file).open("r+b") as changed:
        changed.seek(-1, 2)
        changed.write(b"\x01")
    message = rf"changed after it was written: onnx-fp32/{file}"
    with pytest.raises(BundleError, match=message), Classifier.open(bundle) as classifier:
        classifier.predict(photos / "red.png")


def test_a_change_elsewhere_does_not_stop_a_variant(bundle: Path, photos: Path) -> None:
    (bundle / "golden.npz").write_bytes(b"changed")
    with Classifier.open(bundle) as classifier:
        assert classifier.predict(photos / "red.png")[0].label == "red"


def test_without_verifying_the_weights_are_taken_as_they_are(bundle: Path) -> None:
    weights = np.diag(np.full(3, 20, np.float32))
    (bundle / "onnx-fp32" / "model.onnx.data").write_bytes(weights.tobytes())
    with Classifier.open(bundle, verify=False) as classifier:
        assert classifier.logits(np.ones((1, 3, 6, 8), np.float32)).tolist() == [[20, 20, 20]]


def test_what_was_verified_is_hashed_again_where_asked(decayed_bundle: Path) -> None:
    with Classifier(decayed_bundle) as classifier:
        assert classifier.logits(np.ones((1, 3, 6, 8), np.float32)).tolist() == [[20, 20, 20]]
    with (
        Classifier(decayed_bundle, verify="always") as classifier,
        pytest.raises(BundleError, match="changed after it was written"),
    ):
        classifier.logits(planes())


@pytest.mark.parametrize("verify", ["once", "", None, 2])
def test_another_word_for_verify_is_refused(bundle: Path, verify: Any) -> None:
    with pytest.raises(UsageError, match=f"`verify` must be True, False or 'always', got {verify!r}"):
        Classifier(bundle, verify=verify)


@pytest.mark.parametrize("weight", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_are_never_probabilities(
    make_bundle: Callable[..., Path], photos: Path, weight: float
) -> None:
    with Classifier.open(make_bundle(weights={"onnx-fp32": weight})) as classifier:
        with pytest.raises(VerificationError, match="onnx-fp32 gave outputs that are not finite"):
            classifier.predict(photos / "red.png")
        assert not np.isfinite(classifier.logits(planes())).all()


def test_a_manifest_of_other_classes_than_the_model_is_refused(make_bundle: Callable[..., Path]) -> None:
    with (
        Classifier.open(make_bundle(output=OutputSpec("logits", 2), labels=("a", "b"))) as classifier,
        pytest.raises(BundleError, match=r"outputs of shape \(1, 3\); the manifest says \(1, 2\)"),
    ):
        classifier.predict(RANDOM[0])


def test_a_manifest_of_another_input_than_the_model_is_refused(make_bundle: Callable[..., Path]) -> None:
    other = {"input": InputSpec(("batch", 3, 7, 7)), "preprocessing": Preprocessing(resize=(7, 7))}
    with (
        Classifier.open(make_bundle(**other)) as classifier,
        pytest.raises(BundleError, match=r"cannot run the model on a batch of shape \[1, 3, 7, 7\]"),
    ):
        classifier.predict(RANDOM[0])


def test_a_lone_file_carries_all_it_needs(
    write_model: Callable[..., None], make_manifest: Callable[..., Manifest], tmp_path: Path, photos: Path
) -> None:
    path = tmp_path / "lone.onnx"
    write_model(path, metadata={METADATA_KEY: make_manifest().dump()})
    with Classifier.open(path) as classifier:
        assert (classifier.variant, classifier.predict(photos / "blue.png")[0].label) == ("lone", "blue")
    with pytest.raises(UsageError, match="no variants to choose from, got `variant='onnx-fp32'`"):
        Classifier.open(path, variant="onnx-fp32")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [({}, "carries no vgg_deploy"), ({METADATA_KEY: "{}"}, r"the metadata of .*lone\.onnx is not a bundle manifest")],
)
def test_a_lone_file_of_others_is_refused(
    write_model: Callable[..., None], tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    write_model(tmp_path / "lone.onnx", metadata=metadata)
    with pytest.raises(BundleError, match=message):
        Classifier.open(tmp_path / "lone.onnx")


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x08\x0a"])
def test_a_lone_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lone.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"cannot load .*lone\.onnx"):
        Classifier.open(tmp_path / "lone.onnx")


@pytest.mark.parametrize("batch", [10**6, 10**12])
def test_lone_file_of_an_impossible_batch_is_refused_unloaded(
    tmp_path: Path,
    write_model: Callable[..., None],
    make_manifest: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
) -> None:
    manifest = make_manifest().dump().replace('"batch"', str(batch))
    write_model(tmp_path / "lone.onnx", batch=batch, metadata={"vgg_deploy.json": manifest})
    monkeypatch.setattr(loading, "open_backend", pytest.fail)
    with pytest.raises(BundleError, match="a batch may have 134,217,728 values at most"):
        Classifier(tmp_path / "lone.onnx")


def test_metadata_too_large_is_refused_before_the_engine(
    bundle: Path, write_model: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bundle / "onnx-fp32" / "model.onnx"
    write_model(model, metadata={"padding": "x" * (MAX_MANIFEST_BYTES + 1)})
    monkeypatch.setattr(loading, "open_backend", pytest.fail)
    for path in (model, bundle):
        with pytest.raises(BundleError, match=r"model\.onnx: its metadata is larger than 16,777,216 bytes"):
            Classifier(path, verify=False)


@pytest.mark.parametrize("backend", [None, "onnxruntime", "openvino", "auto"])
def test_operator_outside_the_table_is_refused_unrun(
    looping_bundle: Path, looping_model: Path, monkeypatch: pytest.MonkeyPatch, backend: str | None
) -> None:
    monkeypatch.setattr(loading, "open_backend", pytest.fail)
    monkeypatch.setattr("vgg_runtime.autoselect.choose_backend", pytest.fail)
    for path in (looping_bundle, looping_model):
        with pytest.raises(BundleError, match=r"contains operators that vgg-export does not write: Loop\.") as refusal:
            Classifier(path, backend=backend)
        assert "`allow_any_operator=True`" in refusal.value.hint


@pytest.mark.parametrize("backend", ["onnxruntime", "auto"])
def test_any_operator_runs_if_allowed(looping_bundle: Path, looping_model: Path, photos: Path, backend: str) -> None:
    for path in (looping_bundle, looping_model):
        with Classifier(path, device="cpu", backend=backend, allow_any_operator=True) as classifier:
            assert classifier.predict(photos / "blue.png")[0].label == "blue"
