"""Reading ``golden.npz``: what its headers declare is compared with the manifest before memory is allocated for it."""

from __future__ import annotations

from hashlib import file_digest
from io import BufferedReader
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from vgg_runtime._internal.lazy_numpy import NDArray, np
from vgg_runtime._internal.signal_errors import reraise_from_signal_handler
from vgg_runtime.bundle.checksums import require_unchanged
from vgg_runtime.bundle.directory import GOLDEN, Bundle
from vgg_runtime.bundle.manifest import MAX_INPUT_VALUES, InputArray
from vgg_runtime.errors import BundleError

if TYPE_CHECKING:
    Header = tuple[tuple[int, ...], np.dtype[Any]]

__all__ = ["read_golden"]

# An export writes four, or one batch if that is fixed.
_MAX_SAMPLES = 64


def read_golden(bundle: Bundle) -> tuple[InputArray, NDArray[np.float32]]:
    """Return the inputs of the network and eager PyTorch's outputs for them.

    Raises:
        BundleError: the file is unreadable, has another checksum, or does not match the manifest.
    """
    file = bundle.path(GOLDEN)
    try:
        with file.open("rb") as opened:
            _check_digest(bundle, opened)
            with ZipFile(opened) as archive:
                headers = [_header(archive, name) for name in ("input", "output")]
                _check(bundle, *headers)
                inputs, outputs = (_array(archive, name) for name in ("input", "output"))
    except BundleError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds of errors on a damaged archive
        reraise_from_signal_handler(error)
        raise BundleError(f"{file} is unreadable: {error or type(error).__name__}.") from error
    return inputs, outputs


def _check_digest(bundle: Bundle, golden: BufferedReader) -> None:
    """Compare the file that is read, not another that may be at its path by then."""
    if file_digest(golden, "sha256").hexdigest() != bundle.manifest.golden:
        require_unchanged([GOLDEN], as_error=BundleError)


def _header(archive: ZipFile, name: str) -> Header:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version not in readers:
            raise ValueError(f"{name}.npy has version {version} of the format")
        shape, _, dtype = readers[version](member)
    return shape, dtype


def _check(bundle: Bundle, inputs: Header, outputs: Header) -> None:
    input_spec, classes = bundle.manifest.input, bundle.manifest.output.classes
    (input_shape, input_dtype), (output_shape, output_dtype) = inputs, outputs
    samples = input_shape[0] if input_shape else 0
    batch = input_spec.batch_size or 1
    if (
        (str(input_dtype), str(output_dtype)) != (input_spec.dtype, "float32")
        or not batch <= samples <= max(batch, _MAX_SAMPLES)
        or input_shape[1:] != input_spec.image_shape
        or output_shape != (samples, classes)
    ):
        raise BundleError(
            f"{bundle.path(GOLDEN)} does not match the manifest: inputs {input_dtype} {input_shape}, outputs "
            f"{output_dtype} {output_shape}."
        )
    if max(samples * input_spec.values, samples * classes) > MAX_INPUT_VALUES:
        raise BundleError(f"{bundle.path(GOLDEN)} is too large: at most {MAX_INPUT_VALUES:,} numbers are accepted.")


def _array(archive: ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return array
