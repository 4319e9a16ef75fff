"""The measured programs of cold_start.py: from nothing to the best class of one image, which is printed.

python tests/benchmark/first_prediction.py runtime BUNDLE VARIANT IMAGE THREADS [always|never]
python tests/benchmark/first_prediction.py plain MODEL.onnx IMAGE
python tests/benchmark/first_prediction.py eager CHECKPOINT IMAGE THREADS

Each imports what it needs and no more; not even an option parser, which would be charged to all three.
"""

from __future__ import annotations

import sys

VERIFY = {"": True, "always": "always", "never": False}


def runtime(bundle: str, variant: str, image: str, threads: str, verify: str = "") -> int:
    """Predict as an application does; the files are hashed "always", "never", or if this machine has not yet."""
    from vgg_runtime import Classifier

    with Classifier(bundle, variant=variant, threads=int(threads), verify=VERIFY[verify]) as classifier:
        return classifier.predict(image, top_k=1)[0].index


def plain(model: str, image: str) -> int:
    """What a user would write by hand around an InferenceSession."""
    import numpy as np
    import onnxruntime
    from PIL import Image

    session = onnxruntime.InferenceSession(model)
    picture = Image.open(image).convert("RGB")
    scale = 256 / min(picture.size)
    picture = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BILINEAR)
    left, top = round((picture.width - 224) / 2), round((picture.height - 224) / 2)
    pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)), dtype=np.float32) / np.float32(255)
    pixels = (pixels - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    outputs = session.run(None, {session.get_inputs()[0].name: pixels.transpose(2, 0, 1)[np.newaxis]})
    return int(outputs[0].argmax())


def eager(checkpoint: str, image: str, threads: str) -> int:
    """What PyTorch's tutorial on saving and loading weights does, with torchvision's model and transforms."""
    import torch
    from PIL import Image

    from vgg_models._torchvision import import_torchvision

    torchvision = import_torchvision()
    transforms = torchvision.transforms
    torch.set_num_threads(int(threads))
    model = torchvision.models.vgg16()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    model.eval()
    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.inference_mode():
        outputs = model(prepare(Image.open(image).convert("RGB"))[None])
    return int(outputs.argmax())


PROGRAMS = {"runtime": runtime, "plain": plain, "eager": eager}

if __name__ == "__main__":
    print(PROGRAMS[sys.argv[1]](*sys.argv[2:]), flush=True)
