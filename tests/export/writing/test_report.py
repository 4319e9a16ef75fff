from __future__ import annotations

from dataclasses import replace

import pytest

from vgg_export.verification.samples import Samples, pink_noise_samples
from vgg_export.writing.report import report
from vgg_runtime.bundle.directory import REPORT, Bundle
from vgg_runtime.bundle.manifest import Manifest


@pytest.fixture
def manifest(example_bundle: Bundle) -> Manifest:
    return example_bundle.manifest


@pytest.fixture
def samples(manifest: Manifest) -> Samples:
    return pink_noise_samples(manifest.preprocessing, manifest.input, seed=0)


def test_it_tells_each_variant_and_the_recommended_one(example_bundle: Bundle) -> None:
    text = example_bundle.path(REPORT).read_text()
    for variant in example_bundle.manifest.variants:
        assert f"\n| {variant.name} | {variant.bytes / 1e6:.1f} |" in text
    assert "on 20 real images at batch sizes 1, 2, 5" in text
    assert "## Recommended\n\n`onnx-fp32`" in text
    assert all(f"- {reason}\n" in text for reason in example_bundle.manifest.architecture.reasons)


def test_it_says_that_noise_stood_in_for_images(manifest: Manifest, samples: Samples) -> None:
    assert "images of 1/f noise (give `samples=DIR` to use real ones)" in report(manifest, samples, None)


def test_it_warns_of_random_weights(manifest: Manifest, samples: Samples) -> None:
    assert "random" not in report(manifest, samples, None)
    manifest = replace(manifest, source=replace(manifest.source, weights="random"))
    assert "**The weights are random**" in report(manifest, samples, None)


def test_it_says_what_was_not_verified(manifest: Manifest, samples: Samples) -> None:
    bare = tuple(replace(variant, parity=None, tolerance=None) for variant in manifest.variants)
    assert "No variant was verified" in report(replace(manifest, variants=bare), samples, None)


def test_no_name_in_it_controls_a_terminal(manifest: Manifest, samples: Samples) -> None:
    text = report(replace(manifest, source=replace(manifest.source, notes=("removed \x1b[2J\u202e",))), samples, None)
    assert r"removed \x1b[2J\u202e" in text
    assert not {"\x1b", "\u202e"} & set(text)


def test_torchscript_alone_is_not_recommended_for_the_runtime(manifest: Manifest, samples: Samples) -> None:
    only = tuple(variant for variant in manifest.variants if variant.format == "torchscript")
    assert "None for the runtime without PyTorch" in report(replace(manifest, variants=only), samples, None)


def test_top5_is_left_out_of_few_classes(manifest: Manifest, samples: Samples) -> None:
    assert "| top-5 |" in report(manifest, samples, None)
    few = replace(manifest, output=replace(manifest.output, classes=5), labels=None)
    text = report(few, samples, None)
    assert "top-5" not in text
    cells = [line.count("|") for line in text.split("## Variants\n\n")[1].split("\n\n")[0].splitlines()]
    assert len(set(cells)) == 1


def test_an_snr_that_says_little_is_told(manifest: Manifest, samples: Samples) -> None:
    def text(snr_db: float) -> str:
        variant = manifest.variants[0]
        parity = replace(variant.parity, snr_db=snr_db, centered_snr_db=40.0)
        return report(replace(manifest, variants=(replace(variant, parity=parity),)), samples, None)

    assert "| 60.0 | 40.0 |" in text(60.0)
    assert "its SNR says little" in text(60.0)
    assert "its SNR says little" not in text(49.0)
