"""The process of a worker: scores the shards that stdin asks for, and answers on stdout.

    python -m vgg_score._shard_worker

Requests and answers are lines of JSON: first the job, then a shard at a time. A shard is answered by the counts of each
batch and, when its file is there, by ``{"shards": 1}``; what ends the worker by ``{"error": [class, message, hint]}``.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from vgg_runtime._internal.json_codec import from_json, to_json
from vgg_runtime.errors import VggDeployError
from vgg_score.plan import Shard
from vgg_score.shard_scoring import ScoringJob, ShardScorer, error_to_json

__all__: list[str] = []


def main() -> None:
    """Score until this process is ended; it ends itself when its stdin is closed, as the driver's death does."""
    # Pillow's warning would come below this project's limit, and libraries may print.
    warnings.filterwarnings("ignore", message=".*decompression bomb")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(value: Any) -> None:
        try:
            answers.write(json.dumps(value) + "\n")
            answers.flush()
        except BrokenPipeError:  # the driver has ended, and stdin is about to say so
            os._exit(0)

    requests: SimpleQueue[str] = SimpleQueue()
    Thread(target=_receive, args=(requests,), daemon=True).start()
    try:
        _serve(requests, answer)
    except VggDeployError as error:
        answer({"error": error_to_json(error)})
    except Exception as error:
        traceback.print_exc()
        answer({"error": error_to_json(VggDeployError(f"a worker failed: {type(error).__name__}: {error}"))})
    os._exit(1)  # a thread is waiting for stdin, which Python's orderly end does not expect


def _serve(requests: SimpleQueue[str], answer: Callable[[Any], None]) -> None:
    with ShardScorer(from_json(ScoringJob, json.loads(requests.get()))) as scorer:
        while True:
            for counts in scorer.score(Shard.parse(requests.get())):
                answer(to_json(counts))


def _receive(requests: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # at once: a shard that is not finished is not written


if __name__ == "__main__":
    main()
