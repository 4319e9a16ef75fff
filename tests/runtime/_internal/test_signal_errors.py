from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import onnxruntime
import pytest
from PIL import Image, ImageFile

from vgg_runtime import Classifier
from vgg_runtime._internal.signal_errors import reraise_from_signal_handler

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR1")


class TooLateError(Exception):
    """What the handlers of these tests raise."""


def raise_too_late(*_: Any) -> None:
    raise TooLateError


class Handler:
    """A handler that is an object, and one that is a method."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        raise_too_late()

    def handle(self, number: int, frame: FrameType | None) -> None:
        raise_too_late()


HANDLERS = [raise_too_late, lambda *_: raise_too_late(), partial(raise_too_late, 1), Handler(), Handler().handle]
IDS = ["function", "lambda", "partial", "object", "method"]


@pytest.fixture(params=HANDLERS, ids=IDS)
def handler(request: pytest.FixtureRequest) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, request.param)
    yield
    signal.signal(signal.SIGUSR1, before)


def send_first(function: Callable[..., Any]) -> Callable[..., Any]:
    def sending(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGUSR1)
        return function(*args, **options)

    return sending


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize(
    ("owner", "name"),
    [(onnxruntime.InferenceSession, "run"), (ImageFile.ImageFile, "load"), (Image.Image, "convert")],
    ids=["engine", "decoder", "preprocessing"],
)
def test_error_of_a_signal_handler_comes_out_as_it_is(
    bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    classifier = Classifier(bundle, device="cpu", threads=1)
    Image.new("L", (8, 6)).save(photos / "grey.png")
    monkeypatch.setattr(owner, name, send_first(getattr(owner, name)))
    with pytest.raises(TooLateError):
        classifier.predict(photos / "grey.png")


@pytest.mark.usefixtures("handler")
def test_error_of_a_handler_while_opening_comes_out(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime.InferenceSession, "__init__", send_first(onnxruntime.InferenceSession.__init__))
    with pytest.raises(TooLateError):
        Classifier(bundle, device="cpu", threads=1)


def test_any_other_error_is_left_to_the_caller() -> None:
    try:
        raise ValueError
    except ValueError as error:
        reraise_from_signal_handler(error)
    reraise_from_signal_handler(ValueError("without a traceback"))
