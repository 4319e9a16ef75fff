"""What the HTTP endpoint does under loads and with clients that cannot be had from outside at will."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vgg_runtime._internal.cpu import available_threads
from vgg_runtime.bundle.directory import Bundle

ROOT = Path(__file__).parents[2]
SERVING = ROOT / "build" / "serving"
MODULES = ("app", "limits", "metrics", "protocol")

pytestmark = pytest.mark.skipif(
    not (SERVING / "uvicorn").is_dir(), reason="build/serving is not there: make build/serving/ready"
)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module app.py; what this environment lacks for it comes from build/serving."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "http_endpoint")
    monkeypatch.setattr(sys, "path", [*sys.path, str(SERVING)])
    yield importlib.import_module("app")
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def image(example) -> bytes:
    return (example.images / "bag" / "00018.png").read_bytes()


async def post(
    application: Any, *chunks: bytes, ends: bool = True, path: str = "/predict"
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Post a body in chunks, after which it may not end; return the status, headers and JSON."""
    more = [True] * (len(chunks) - 1) + [not ends]
    messages = [
        {"type": "http.request", "body": chunk, "more_body": more} for chunk, more in zip(chunks, more, strict=True)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    request = {"type": "http", "method": "POST", "path": path, "query_string": b"", "client": ("192.0.2.1", 1)}
    await application({**request, "headers": [(b"content-type", b"image/png")]}, receive, send)
    start, *parts = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, json.loads(b"".join(part["body"] for part in parts))


def test_body_that_does_not_end_is_refused(app: Any, example_bundle: Bundle, image: bytes) -> None:
    with closing(app.Endpoint(str(example_bundle.directory), app.Settings(seconds=0.05))) as endpoint:
        status, _, answer = asyncio.run(post(app.create_app(endpoint), image, ends=False))
    assert (status, answer["error"]) == (408, "the body did not arrive within 0.05 seconds.")


def test_body_without_length_is_cut_at_the_limit(app: Any, example_bundle: Bundle) -> None:
    with closing(app.Endpoint(str(example_bundle.directory), app.Settings(max_bytes=1000))) as endpoint:
        status, _, answer = asyncio.run(post(app.create_app(endpoint), *[bytes(400)] * 3, ends=False))
    assert (status, answer["error"]) == (413, "the body exceeds the capacity limit of 1,000 bytes.")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"max_pending": 1}, "1 images are unanswered"), ({"seconds": 0.05}, "the answer took too long")],
)
def test_busy_server_answers_503(
    app: Any, example_bundle: Bundle, image: bytes, held: Any, settings: dict[str, Any], message: str
) -> None:
    with closing(app.Endpoint(str(example_bundle.directory), app.Settings(**settings))) as endpoint:
        for _ in range(min(endpoint.classifier.threads, endpoint.settings.max_pending)):
            endpoint.queue.submit(held)
        status, headers, answer = asyncio.run(post(app.create_app(endpoint), image))
        held.leave.set()
    assert (status, headers["retry-after"]) == (503, "1")
    assert message in answer["error"]


def test_image_beside_a_refused_one_is_withdrawn(app: Any, example_bundle: Bundle, image: bytes, held: Any) -> None:
    settings = app.Settings(seconds=0.05, max_pending=available_threads() + 1)
    two_images = {"name": "input", "datatype": "FP32", "shape": [2, 1, 28, 28], "data": [0.5] * 2 * 28 * 28}
    with closing(app.Endpoint(str(example_bundle.directory), settings)) as endpoint:
        application = app.create_app(endpoint)
        for _ in range(endpoint.classifier.threads):
            endpoint.queue.submit(held)
        infer = post(
            application, json.dumps({"inputs": [two_images]}).encode(), path=f"/v2/models/{endpoint.name}/infer"
        )
        assert "images are unanswered" in asyncio.run(infer)[2]["error"]
        # There is room again for the next one, though it waits in vain.
        assert "the answer took too long" in asyncio.run(post(application, image))[2]["error"]
        held.leave.set()


def test_request_without_room_is_refused_unread(app: Any, example_bundle: Bundle, image: bytes) -> None:
    async def two_at_once(application: Any) -> list[Any]:
        return await asyncio.gather(post(application, image, ends=False), post(application, image, ends=False))

    settings = app.Settings(max_requests=1, seconds=0.05)
    with closing(app.Endpoint(str(example_bundle.directory), settings)) as endpoint:
        application = app.create_app(endpoint)
        (first, _, _), (second, headers, answer) = asyncio.run(two_at_once(application))
        assert (first, second, headers["retry-after"]) == (408, 503, "1")
        assert answer["error"] == "too many requests are under way; try again later."
        assert asyncio.run(post(application, image))[0] == 200


def test_tokens_of_one_address_come_back_with_time(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("limits.time.monotonic", lambda: now)

    async def answer(request: Any) -> str:
        return "answered"

    def status(host: str) -> Any:
        request = app.Request({"type": "http", "client": (host, 1)})
        try:
            return asyncio.run(limited(request))
        except app.HTTPException as error:
            return error.status_code, error.headers["Retry-After"]

    limited = app.RateLimit(0.5).hold(answer)
    assert [status("192.0.2.1"), status("192.0.2.1"), status("192.0.2.2")] == ["answered", (429, "2"), "answered"]
    now = 1.0
    assert status("192.0.2.1") == (429, "1")
    now = 2.0
    assert status("192.0.2.1") == "answered"
