from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vgg_export.eager import eager_function
from vgg_export.verification.reference import Reference, run_eager
from vgg_export.verification.samples import Samples
from vgg_runtime.bundle.manifest import InputSpec
from vgg_runtime.errors import ArchitectureError, ParityError
from vgg_runtime.imaging.preprocessing import Preprocessing


def samples(count: int = 5) -> Samples:
    pixels = np.random.default_rng(0).integers(256, size=(count, 8, 8, 1), dtype=np.uint8)
    preprocessing = Preprocessing("L", mean=(0.5,), std=(0.3,))
    return Samples(tuple(map(str, range(count))), (b"",) * count, pixels, preprocessing, False, False)


class Returning(nn.Module):
    """Gives what ``function`` makes of the batch."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.fixture
def reference(small_network, input_spec: InputSpec) -> Reference:
    return run_eager(small_network(), samples(), input_spec)


def test_every_sample_runs_alone_and_some_in_larger_batches(reference: Reference) -> None:
    assert [len(batch) for batch in reference.batches] == [1, 1, 1, 1, 1, 2, 5]
    assert reference.golden[0].shape == (4, 1, 8, 8)


def test_samples_beyond_64_run_by_eights_each_once(small_network, input_spec: InputSpec) -> None:
    reference = run_eager(small_network(), samples(83), input_spec)
    assert [len(batch) for batch in reference.batches] == [*[1] * 64, 8, 8, 3, 2, 5]
    assert [index for batch in reference.batches[:-2] for index in batch] == list(range(83))
    assert reference.per_sample.shape == (83, 6)


@pytest.mark.parametrize(("fixed", "batches"), [(1, 5), (2, 3), (4, 2), (5, 1), (8, 1)])
def test_a_fixed_batch_size_still_covers_every_sample(small_network, fixed: int, batches: int) -> None:
    reference = run_eager(small_network(), samples(), InputSpec((fixed, 1, 8, 8)))
    assert [len(batch) for batch in reference.batches] == [fixed] * batches
    assert {index for batch in reference.batches for index in batch} == set(range(5))


@pytest.mark.parametrize("fixed", [1, 3, 4, 8])
def test_golden_inputs_and_outputs_belong_together(small_network, fixed: int) -> None:
    network = small_network()
    inputs, outputs = run_eager(network, samples(), InputSpec((fixed, 1, 8, 8))).golden
    assert len(inputs) >= fixed
    np.testing.assert_allclose(eager_function(network)(inputs), outputs, atol=1e-6)


def test_the_network_itself_agrees_to_the_bit(reference: Reference, small_network) -> None:
    figures = reference.compare(reference.run("itself", eager_function(small_network())))
    assert (figures.snr_db, figures.samples, figures.batch_sizes) == (None, 12, (1, 2, 5))


def test_one_wrong_output_is_found_and_named(reference: Reference, small_network) -> None:
    run = eager_function(small_network())

    def wrong_in_batches_of_five(batch: np.ndarray) -> np.ndarray:
        output = run(batch)
        if len(batch) == 5:
            output[3, 2] += 0.5
        return output

    figures = reference.compare(reference.run("wrong", wrong_in_batches_of_five))
    assert figures.worst_sample == "3 (batch 5)"
    assert figures.max_abs_error == pytest.approx(0.5)


def test_an_engine_that_fails_on_a_batch_is_a_miss(reference: Reference) -> None:
    def fail(batch: np.ndarray) -> np.ndarray:
        raise RuntimeError("\nno kernel.\nTraceback of TorchScript:\n  line 1")

    with pytest.raises(ParityError, match=r"onnx-fp32 fails on a batch of 1.*: no kernel\.\n") as miss:
        reference.run("onnx-fp32", fail)
    assert "\n" not in miss.value.message


def test_a_network_that_fails_is_told_in_one_line(input_spec: InputSpec) -> None:
    def fail(batch: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not fit\n  at line 1\n  at line 2")

    with pytest.raises(ArchitectureError, match="shapes do not fit") as refused:
        run_eager(Returning(fail), samples(), input_spec)
    assert "\n" not in refused.value.message


def test_outputs_of_another_shape_are_a_miss(reference: Reference) -> None:
    with pytest.raises(ParityError, match=r"gives \[1, 5\] for a batch of 1, eager PyTorch gives \[1, 6\]"):
        reference.run("onnx-fp32", lambda batch: np.zeros((len(batch), 5), np.float32))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.view(1, -1)[:, :6], "fails|gives"),  # takes batches of one only
        (lambda x: (x.flatten(1), x), "tuple, not one tensor"),
        (lambda x: x, r"\[images, classes\]"),
        (lambda x: x.flatten(1)[:1], r"gives \[1, 64\] for 2 images"),
        (lambda x: x.flatten(1) / 0, "NaN or infinity"),
    ],
)
def test_a_network_that_is_no_classifier_is_refused(input_spec: InputSpec, function, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        run_eager(Returning(function), samples(), input_spec)


def test_in_place_network_leaves_the_samples_alone(input_spec: InputSpec) -> None:
    images = samples()
    before = images.pixels.copy()
    run_eager(Returning(lambda x: x.mul_(2).flatten(1)), images, input_spec)
    np.testing.assert_array_equal(images.pixels, before)


def test_each_batch_is_told_of_how_many(small_network, input_spec: InputSpec) -> None:
    steps: list[tuple[str, int, int]] = []
    reference = run_eager(small_network(), samples(), input_spec, lambda *step: steps.append(step))
    assert steps == [("running eager PyTorch", done, 7) for done in range(1, 8)]
    steps.clear()
    reference.run("itself", eager_function(small_network()), lambda *step: steps.append(step))
    assert steps == [("verifying itself", done, 7) for done in range(1, 8)]
