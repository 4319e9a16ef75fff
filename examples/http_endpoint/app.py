"""An HTTP endpoint: POST an image, get its classes as JSON; or speak the Open Inference Protocol, as Triton does.

    pip install -r requirements.txt
    python app.py BUNDLE [PORT]
    curl --data-binary @cat.jpg -H "Content-Type: image/jpeg" "http://127.0.0.1:8000/predict?top_k=3"
    curl http://127.0.0.1:8000/v2/models/NAME        NAME is that of the bundle without .bundle

The images of all clients go through one queue, which runs them in batches. What cannot be answered in time is refused:
429 to a client that asks too often, 503 while the queue is full, each with Retry-After. /metrics is for Prometheus. On
SIGTERM the requests under way are answered, then the process ends.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from limits import RateLimit, Room, read_body
from metrics import Metrics
from protocol import InferenceRequest, model_metadata, read_request, write_response
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import vgg_runtime
from vgg_runtime import BatchingQueue, Classifier, VggDeployError
from vgg_runtime.errors import ImageError, MissingCapabilityError, UsageError

# The first that fits; what is on no line is a fault of the server: 500.
STATUS = {ImageError: 400, UsageError: 400, MissingCapabilityError: 503}
RETRY = {"Retry-After": "1"}


@dataclass(frozen=True)
class Settings:
    """What a server may spend on its clients.

    Attributes:
        max_bytes: of a request's body.
        max_requests: under way at once; each may hold ``max_bytes``.
        max_connections: open at once; beyond that *all* requests are refused.
        max_pending: images that wait for their answers.
        max_batch: images that run at once.
        max_wait_ms: an image waits for others to join its batch; 0 runs what has come in meanwhile.
        seconds: to receive a request, and again to answer it.
        rate: requests a second from one address; None does not limit them.
    """

    max_bytes: int = 16 * 2**20
    max_requests: int = 128
    max_connections: int = 4096
    max_pending: int = 64
    max_batch: int = 8
    max_wait_ms: float = 0.0
    seconds: float = 10.0
    rate: float | None = None


class Endpoint:
    """The answers to requests."""

    def __init__(self, bundle: str, settings: Settings = Settings()) -> None:
        self.name = Path(bundle).absolute().name.removesuffix(".bundle")
        self.settings = settings
        self.classifier = Classifier(bundle)
        self.queue = BatchingQueue(
            self.classifier,
            max_batch=settings.max_batch,
            max_wait_ms=settings.max_wait_ms,
            max_pending=settings.max_pending,
        )

    def close(self) -> None:
        self.queue.close()
        self.classifier.close()

    async def predict(self, request: Request) -> Response:
        kind = request.headers.get("Content-Type", "")
        if not kind.startswith("image/"):
            raise HTTPException(415, f"the body is {kind or 'of no type'}; send an image, as image/jpeg or image/png.")
        try:
            top_k = int(request.query_params.get("top_k", "5"))
        except ValueError:
            raise HTTPException(400, "top_k is not a whole number.") from None
        image = await self._body(request)
        [predictions] = await self._answers([lambda: self.queue.submit(image, top_k=top_k, block=False)])
        return JSONResponse({"variant": self.classifier.variant, "predictions": [asdict(each) for each in predictions]})

    async def infer(self, request: Request) -> Response:
        self._require_model(request)
        header_length = request.headers.get("Inference-Header-Content-Length")
        inference = read_request(await self._body(request), header_length, self.classifier.manifest)
        outputs = await self._answers(self._submissions(inference))
        return write_response(inference, np.stack(outputs), self.name, self.classifier.manifest)

    def _submissions(self, inference: InferenceRequest) -> list[Callable[[], Future[Any]]]:
        if len(inference.batch) > self.settings.max_pending:
            raise HTTPException(400, f"a request may have {self.settings.max_pending} images at most.")
        return [lambda planes=planes: self.queue.submit_prepared(planes, block=False) for planes in inference.batch]

    async def _body(self, request: Request) -> bytes:
        return await read_body(request, max_bytes=self.settings.max_bytes, seconds=self.settings.seconds)

    async def _answers(self, submissions: Sequence[Callable[[], Future[Any]]]) -> list[Any]:
        """Submit images, and wait for their answers; if one is refused or late, the others are withdrawn."""
        futures: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(self.settings.seconds):
                for submit in submissions:
                    futures.append(asyncio.wrap_future(submit()))
                return await asyncio.gather(*futures)
        except TimeoutError:
            raise HTTPException(503, "the answer took too long; try again later.", RETRY) from None
        finally:
            for future in futures:
                future.cancel()

    async def model(self, request: Request) -> Response:
        self._require_model(request)
        return JSONResponse(model_metadata(self.name, self.classifier.manifest))

    async def model_is_ready(self, request: Request) -> Response:
        self._require_model(request)
        return Response()

    async def server(self, request: Request) -> Response:
        return JSONResponse(
            {"name": "vgg-deploy", "version": vgg_runtime.__version__, "extensions": ["binary_tensor_data"]}
        )

    async def is_up(self, request: Request) -> Response:
        return Response()

    def _require_model(self, request: Request) -> None:
        if (name := request.path_params["name"]) != self.name:
            raise HTTPException(404, f"there is no model {name!r}; this server has {self.name!r}.")


async def refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, VggDeployError)
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"error": error.message, "hint": error.hint}, status, headers=RETRY if status == 503 else None)


async def refuse_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = error.detail
    if text == HTTPStatus(error.status_code).phrase:  # Starlette's own: no such page, no such method
        text = f"{request.method} {request.url.path}: {text.lower()}."
    return JSONResponse({"error": text, "hint": ""}, error.status_code, headers=error.headers)


def create_app(endpoint: Endpoint) -> Starlette:
    """Return the application, which closes ``endpoint`` when it ends."""
    metrics, rate_limit, room = Metrics(), RateLimit(endpoint.settings.rate), Room(endpoint.settings.max_requests)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        endpoint.close()

    def post(path: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, rate_limit.hold(room.hold(answer)), methods=["POST"])

    models = ["/v2/models/{name}", "/v2/models/{name}/versions/1"]
    routes = [
        post("/predict", endpoint.predict),
        *(post(f"{path}/infer", endpoint.infer) for path in models),
        *(Route(f"{path}/ready", endpoint.model_is_ready) for path in models),
        *(Route(path, endpoint.model) for path in models),
        Route("/v2", endpoint.server),
        Route("/v2/health/live", endpoint.is_up),
        Route("/v2/health/ready", endpoint.is_up),
        Route("/metrics", metrics.report),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(metrics.watch)],
        exception_handlers={VggDeployError: refuse, HTTPException: refuse_request},
        lifespan=lifespan,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a bundle over HTTP.")
    parser.add_argument("bundle")
    parser.add_argument("port", nargs="?", type=int, default=8000)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--rate", type=float, help="requests a second from one address; by default not limited")
    parser.add_argument("--max-batch", type=int, default=8, help="images that run at once")
    parser.add_argument("--max-pending", type=int, default=64, help="images that wait for their answers")
    options = parser.parse_args()
    settings = Settings(rate=options.rate, max_batch=options.max_batch, max_pending=options.max_pending)
    uvicorn.run(
        create_app(Endpoint(options.bundle, settings)),
        host=options.host,
        port=options.port,
        access_log=False,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=int(settings.seconds),
        timeout_graceful_shutdown=int(2 * settings.seconds),
    )


if __name__ == "__main__":
    main()
