"""What Prometheus wants to know: requests by endpoint and status, how long they take, and how many are under way."""

from __future__ import annotations

import time

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("endpoint", "status")
        self._requests = Counter("vgg_requests", "Requests answered.", labels, registry=self._registry)
        self._under_way = Gauge("vgg_requests_under_way", "Requests not answered yet.", registry=self._registry)
        self._seconds = Histogram(
            "vgg_request_seconds", "From a request's header to its answer.", ("endpoint",),
            buckets=SECONDS, registry=self._registry,
        )  # fmt: skip

    def watch(self, app: ASGIApp) -> ASGIApp:
        """Return ``app`` with its requests counted."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            status = 500

            async def note_status(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            if scope["type"] != "http":
                return await app(scope, receive, send)
            start = time.perf_counter()
            with self._under_way.track_inprogress():
                try:
                    await app(scope, receive, note_status)
                finally:
                    endpoint = getattr(scope.get("endpoint"), "__name__", "none")
                    self._requests.labels(endpoint, status).inc()
                    self._seconds.labels(endpoint).observe(time.perf_counter() - start)

        return watched

    async def report(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
