"""A bundle on Ray Serve: replicas on the nodes of a cluster, each of which forms batches of what it is sent.

    pip install "vgg-deploy[cpu]" "ray[serve]"
    serve run app:application bundle=/shared/slim_vgg.bundle replicas=2
    curl --data-binary @cat.jpg http://127.0.0.1:8000

The bundle lies at the same path on every node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import JSONResponse

from vgg_runtime import Classifier, ImageError, Prediction

MAX_BATCH = 8


@serve.deployment(ray_actor_options={"num_cpus": 1}, max_ongoing_requests=4 * MAX_BATCH, max_queued_requests=64)
class Endpoint:
    """One replica. Where ``max_queued_requests`` wait already, Ray answers 503."""

    def __init__(self, bundle: str) -> None:
        self._classifier = Classifier(bundle, device="cpu", threads=1, profile="shared")

    async def __call__(self, request: Request) -> JSONResponse:
        result = await self.classify(await request.body())
        if isinstance(result, ImageError):
            return JSONResponse({"error": result.message, "hint": result.hint}, 400)
        return JSONResponse({"predictions": [asdict(each) for each in result]})

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.005)
    async def classify(self, images: Sequence[bytes]) -> list[list[Prediction] | ImageError]:
        # In a thread, so that the next batch gathers meanwhile.
        return await asyncio.to_thread(self._classify, images)

    def _classify(self, images: Sequence[bytes]) -> list[list[Prediction] | ImageError]:
        return list(self._classifier.predict_iter(images, batch_size=MAX_BATCH, on_error="return"))


def application(arguments: dict[str, Any]) -> DeploymentHandle:
    return Endpoint.options(num_replicas=int(arguments.get("replicas", 1))).bind(arguments["bundle"])
