from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vgg_runtime import Classifier, Manifest, open_bundle, verify_bundle
from vgg_runtime.bundle import manifest, migrations
from vgg_runtime.bundle.migrations import MIGRATIONS, SCHEMA_VERSION, migrate
from vgg_runtime.errors import BundleError

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def successor(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[dict[str, Any]], dict[str, Any]]], None]:
    """Make this the release whose schema is one version later, with a migration to it."""

    def install(migration: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        for module in (migrations, manifest):
            monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        monkeypatch.setitem(MIGRATIONS, SCHEMA_VERSION, migration)

    return install


def in_capitals(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"labels": [label.upper() for label in data["labels"]]}


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
@pytest.mark.parametrize("colour", ["red", "lime", "blue"])
def test_bundle_of_every_schema_version_predicts(version: int, colour: str) -> None:
    bundle = DATA / f"bundle_v{version}"
    names = [variant.name for variant in open_bundle(bundle).manifest.variants if variant.format == "onnx"]
    for name in names:
        with Classifier(bundle, variant=name, device="cpu", threads=1) as classifier:
            best, *_ = classifier.predict(Image.new("RGB", (30, 20), colour))
        assert (best.label, best.probability > 0.9) == (colour, True)


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_bundle_of_every_schema_version_is_verified(version: int) -> None:
    figures = verify_bundle(DATA / f"bundle_v{version}", device="cpu")
    assert figures.keys() >= {"onnx-fp32", "onnx-int8-static"}


def test_earlier_manifest_and_its_copies_are_migrated(successor: Callable[..., None]) -> None:
    successor(in_capitals)
    bundle = DATA / f"bundle_v{SCHEMA_VERSION}"
    with Classifier(bundle, device="cpu") as classifier:
        assert classifier.predict(Image.new("RGB", (8, 8), "lime"))[0].label == "LIME"
    assert "onnx-fp32" in verify_bundle(bundle, device="cpu")


def test_migrations_follow_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MIGRATIONS, 1, lambda data: {"path": [*data["path"], 1]})
    monkeypatch.setitem(MIGRATIONS, 2, lambda data: {"path": [*data["path"], 2]})
    present = {"path": [1, 2], "schema_version": 3}
    assert migrate({"path": []}) == migrate({"path": [], "schema_version": 1}) == migrate(present) == present


@pytest.mark.parametrize("data", [[], None, {"schema_version": True}, {"schema_version": []}, {"schema_version": 9}])
def test_manifest_without_a_way_from_its_version_stays(data: Any, successor: Callable[..., None]) -> None:
    successor(in_capitals)
    assert migrate(data) is data


@pytest.mark.parametrize("fields", [{}, {"labels": 5}, {"labels": [5]}])
def test_manifest_that_cannot_be_migrated_is_refused(fields: dict[str, Any], successor: Callable[..., None]) -> None:
    successor(in_capitals)
    message = f"x is not a bundle manifest: it does not have the form of schema version {SCHEMA_VERSION}"
    with pytest.raises(BundleError, match=message):
        Manifest.parse(json.dumps({"schema_version": SCHEMA_VERSION, **fields}), source="x")


def test_refusal_of_a_version_names_those_that_are_read(
    successor: Callable[..., None], make_manifest: Callable[..., Manifest]
) -> None:
    data = json.loads(make_manifest().dump())
    successor(in_capitals)
    message = f"schema_version is 99; this release reads .*{SCHEMA_VERSION} and {SCHEMA_VERSION + 1}"
    with pytest.raises(BundleError, match=message):
        Manifest.parse(json.dumps(data | {"schema_version": 99}), source="x")
