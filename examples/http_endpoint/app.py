"""An HTTP endpoint: POST an image, get its classes as JSON.

    pip install -r requirements.txt
    python app.py BUNDLE [PORT]
    curl --data-binary @cat.jpg -H "Content-Type: image/jpeg" "http://127.0.0.1:8000/predict?top_k=3"

One classifier serves all threads. In production give ``create_app`` to a WSGI server such as gunicorn; a classifier
that was opened before the server forks is opened again in each worker.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from flask import Flask, abort, request
from werkzeug.exceptions import HTTPException

from vgg_runtime import Classifier, VggDeployError
from vgg_runtime.errors import ImageError, MissingCapabilityError, UsageError

MAX_BYTES = 16 * 2**20

# The first that fits; what is on no line is a fault of the server: 500.
STATUS = {ImageError: 400, UsageError: 400, MissingCapabilityError: 503}


def create_app(bundle: str) -> Flask:
    classifier = Classifier.open(bundle)
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        if not request.mimetype.startswith("image/"):
            abort(415, f"the body is {request.mimetype or 'of no type'}; send an image, as image/jpeg or image/png.")
        try:
            top_k = int(request.args.get("top_k", "5"))
        except ValueError:
            abort(400, "top_k is not a whole number.")
        predictions = classifier.predict(request.get_data(), top_k=top_k)
        return {"variant": classifier.variant, "predictions": [asdict(each) for each in predictions]}

    @app.errorhandler(VggDeployError)
    def refuse(error: VggDeployError) -> tuple[dict[str, str], int]:
        status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
        return {"error": error.message, "hint": error.hint}, status

    @app.errorhandler(HTTPException)  # Flask's own: no such page, a body that is too large
    def refuse_request(error: HTTPException) -> tuple[dict[str, str], int]:
        return {"error": error.description or error.name, "hint": ""}, error.code or 500

    return app


if __name__ == "__main__":
    create_app(sys.argv[1]).run(port=int(sys.argv[2]) if len(sys.argv) > 2 else 8000)
