"""A worker that times what a user would write by hand: a plain InferenceSession on one file."""

from __future__ import annotations

import sys

import onnxruntime

from vgg_bench.timing.serve import image_like_batch, serve

if __name__ == "__main__":
    session = onnxruntime.InferenceSession(sys.argv[1])
    (taken,) = session.get_inputs()
    batch = image_like_batch((1, *taken.shape[1:]))
    serve(lambda: session.run(None, {taken.name: batch}))
