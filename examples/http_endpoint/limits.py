"""What clients may take: bytes, seconds, requests a second, requests at once."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

Answer = Callable[[Request], Awaitable[Response]]

# Of clients that ask no more, the oldest are forgotten.
MAX_CLIENTS = 10_000


async def read_body(request: Request, *, max_bytes: int, seconds: float) -> bytes:
    """Return the body, which may be no larger and take no longer."""
    too_large = HTTPException(413, f"the body exceeds the capacity limit of {max_bytes:,} bytes.")
    if int(request.headers.get("Content-Length", "0")) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {seconds:g} seconds.") from None
    except ClientDisconnect:
        raise HTTPException(400, "the client has gone.") from None
    return bytes(body)


class Room:
    """Room for ``size`` requests at once."""

    def __init__(self, size: int) -> None:
        self._free = size

    def hold(self, answer: Answer) -> Answer:
        """Return ``answer`` for those that there is room for; others get 503, before their body is read."""

        @wraps(answer)
        async def held(request: Request) -> Response:
            if self._free == 0:
                raise HTTPException(503, "too many requests are under way; try again later.", {"Retry-After": "1"})
            self._free -= 1
            try:
                return await answer(request)
            finally:
                self._free += 1

        return held


class RateLimit:
    """A token bucket for each address: ``rate`` tokens a second, and as many, at least one, at once."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def hold(self, answer: Answer) -> Answer:
        """Return ``answer`` for those that do not ask too often; others get 429."""

        @wraps(answer)
        async def limited(request: Request) -> Response:
            if self._rate is not None:
                self._take(request.client.host if request.client else "", self._rate)
            return await answer(request)

        return limited

    def _take(self, address: str, rate: float) -> None:
        now, most = time.monotonic(), max(rate, 1.0)
        tokens, since = self._buckets.pop(address, (most, now))
        tokens = min(most, tokens + rate * (now - since))
        self._buckets[address] = (tokens - 1 if tokens >= 1 else tokens), now
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if tokens < 1:
            wait = math.ceil((1 - tokens) / rate)
            raise HTTPException(429, f"more than {rate:g} requests a second.", {"Retry-After": str(wait)})
