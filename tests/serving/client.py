"""Asks a server what users of tritonclient ask, and prints its answers as JSON.

    python client.py http|grpc ADDRESS MODEL BATCH.npy

BATCH has images as the network takes them. This runs on build/serving, where tritonclient is.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

CLIENTS, ROUNDS = 16, 2


def infer(protocol: Any, client: Any, model: str, batch: np.ndarray, *, binary: bool = True, **output: Any) -> Any:
    image = protocol.InferInput("input", batch.shape, np_to_triton_dtype(batch.dtype))
    if binary:  # the default; gRPC knows nothing else
        image.set_data_from_numpy(batch)
    else:
        image.set_data_from_numpy(batch, binary_data=False)
        output["binary_data"] = False
    outputs = [protocol.InferRequestedOutput("output", **output)] if output else None
    return client.infer(model, [image], outputs=outputs).as_numpy("output")


def refusal(protocol: Any, client: Any, model: str, batch: np.ndarray, **output: Any) -> str:
    try:
        infer(protocol, client, model, batch, **output)
    except InferenceServerException as error:
        return error.message()
    return ""


def one_by_one(protocol: Any, address: str, model: str, batch: np.ndarray) -> list[np.ndarray]:
    """The outputs for each image, asked for by a client of one's own."""
    with protocol.InferenceServerClient(address) as client:
        return [infer(protocol, client, model, image[np.newaxis])[0] for image in batch]


def main(name: str, address: str, model: str, file: str) -> None:
    protocol, batch = import_module(f"tritonclient.{name}"), np.load(file)
    as_dict = {"as_json": True} if name == "grpc" else {}
    with protocol.InferenceServerClient(address) as client:
        ask = partial(infer, protocol, client, model)
        refused = partial(refusal, protocol, client)
        answers = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model ready": client.is_model_ready(model),
            "metadata": client.get_model_metadata(model, **as_dict),
            "outputs": ask(batch),
            "outputs as JSON": ask(batch, binary=False) if name == "http" else None,
            "wrong shape": refused(model, batch[..., :-1].copy()),
            "wrong model": refused("no_such_model", batch),
            "classes": refused(model, batch, class_count=1) or ask(batch, class_count=1),
        }
    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(one_by_one, protocol, address, model, batch) for _ in range(CLIENTS * ROUNDS)]
        answers["outputs of many clients"] = [each.result() for each in asked]
    print(json.dumps(answers, default=lambda value: value.decode() if isinstance(value, bytes) else value.tolist()))


if __name__ == "__main__":
    main(*sys.argv[1:])
