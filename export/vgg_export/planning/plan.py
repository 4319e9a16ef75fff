"""The plan of an export, complete before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from vgg_calibration.statistics.images import CALIBRATION_SIZE
from vgg_export.planning.image_split import COMPRESSION_SIZE, ImageSplit, split_images
from vgg_export.planning.labels import labels_from_checkpoint, read_labels
from vgg_export.planning.options import Options
from vgg_export.planning.preprocess_search.findings import findings, require_clear
from vgg_export.planning.preprocess_search.ranking import PreprocessingSearch
from vgg_export.planning.preprocess_search.search import search_preprocessing, split_labelled
from vgg_export.planning.preprocess_spec import FIND, is_preset, resolve_preprocessing, stated_size
from vgg_export.planning.stated_preprocessing import apply_statements
from vgg_export.progress import OnNote, OnStep, ignore_notes, ignore_steps
from vgg_export.variants.registry import VariantSpec, select_variants
from vgg_models import layer_table, load_model
from vgg_models.types import CheckpointSource
from vgg_runtime._internal.validation import counted
from vgg_runtime.bundle.manifest import MAX_INPUT_VALUES, InputSpec
from vgg_runtime.errors import UsageError

if TYPE_CHECKING:
    from vgg_models import LoadedModel
    from vgg_runtime.imaging.preprocessing import Preprocessing

__all__ = ["Plan", "make_plan", "note_assumptions"]

# Ranges from fewer images depend on the choice of images.
FEW_IMAGES = 16


@dataclass(frozen=True)
class Plan:
    """An export with all decisions made, before any file is written.

    Attributes:
        loaded: the network and its origin.
        input_spec: the input of the network.
        preprocessing: the preprocessing from an image to that input.
        assumptions: defaults used because nothing states otherwise, including those of the architecture.
        remarks: what the user has to see: choices, and facts taken from the checkpoint.
        labels: one name per class, or None.
        variant_specs: the variants to write, in order.
        images: real images for calibration and for verification.
        search: how the preprocessing was found, None if there was no search.
    """

    options: Options
    loaded: LoadedModel
    input_spec: InputSpec
    preprocessing: Preprocessing
    assumptions: tuple[str, ...]
    remarks: tuple[str, ...]
    labels: tuple[str, ...] | None
    variant_specs: tuple[VariantSpec, ...]
    images: ImageSplit
    search: PreprocessingSearch | None = None

    @property
    def source_notes(self) -> tuple[str, ...]:
        """Everything that was done to the checkpoint or taken from it."""
        return tuple(dict.fromkeys((*self.loaded.checkpoint.notes, *self.remarks)))

    @property
    def variants_input(self) -> InputSpec:
        """The input of every variant: that of the network, or pixels if preprocessing is embedded."""
        return self.input_spec.as_pixels() if self.options.embed_preprocessing else self.input_spec


def make_plan(
    checkpoint: CheckpointSource,
    options: Options,
    *,
    on_step: OnStep = ignore_steps,
    on_note: OnNote = ignore_notes,
) -> Plan:
    """Read the checkpoint and decide everything that the options leave open.

    Args:
        on_step: called with a line of text when each step of a search for the preprocessing begins.
        on_note: called with a line of text for each assumption and remark, as soon as it is made.

    Raises:
        RefusedInputError: the checkpoint, the labels or the preprocessing are refused.
        UsageError: options contradict each other, or a search for the preprocessing lacks labelled samples.
    """
    variant_specs = select_variants(options.formats, options.quantize.methods, compress=options.compresses)
    _check_calibration(options, variant_specs)
    loaded = load_model(
        checkpoint,
        model=options.model.name,
        input_size=_certain_size(options),
        seed=options.seed,
        weights=options.model.weights,
        attribute_order=options.model.attribute_order,
        allow_nonfinite=options.model.allow_nonfinite,
        fallback_input_size=stated_size(options.preprocess),
    )
    note_assumptions(loaded.architecture.assumptions, on_note)
    preprocessing, assumed, preprocessing_remarks = _preprocessing(options, loaded)
    labels, label_remarks = _labels(options, loaded)
    note_assumptions(assumed, on_note)
    remarks = (*loaded.checkpoint.remarks, *preprocessing_remarks, *label_remarks)
    for remark in remarks:
        on_note(f"note: {remark}")
    images = split_images(
        options.samples,
        options.calibration,
        macs=layer_table(loaded.module, (loaded.input_channels, *loaded.input_size)).macs,
        seed=options.seed,
        default_size=COMPRESSION_SIZE if options.compresses else CALIBRATION_SIZE,
    )
    few_images, held_out = tuple(_few_images(images)), tuple(_held_out(options, images))
    note_assumptions((*few_images, *held_out), on_note)
    batch = "batch" if options.batch == "dynamic" else options.batch
    values = prod((loaded.input_channels, *loaded.input_size))
    if batch != "batch" and int(batch) * values > MAX_INPUT_VALUES:
        raise UsageError(f"`batch={batch}` must be at most {MAX_INPUT_VALUES // values} for this size of image.")
    plan = Plan(
        options=options,
        loaded=loaded,
        input_spec=InputSpec((batch, loaded.input_channels, *loaded.input_size)),
        preprocessing=preprocessing,
        assumptions=(*loaded.architecture.assumptions, *assumed, *few_images, *held_out),
        remarks=remarks,
        labels=labels,
        variant_specs=variant_specs,
        images=images,
    )
    return _with_search(plan, on_step, on_note) if options.preprocess == FIND else plan


def note_assumptions(assumptions: Iterable[str], on_note: OnNote) -> None:
    """Call ``on_note`` with one line for each of ``assumptions``."""
    for assumption in assumptions:
        on_note(f"assumed: {assumption}")


def _check_calibration(options: Options, variant_specs: Iterable[VariantSpec]) -> None:
    """Refuse calibration without images: ranges from noise do not fit photographs."""
    if options.calibration.folder is not None:
        return
    if needing := [spec.quantize for spec in variant_specs if spec.ranges == "required"]:
        raise UsageError(
            f"`quantize={needing}` needs real images to compute ranges from.",
            hint="Add `calibration=FOLDER_OF_PHOTOS`.",
        )


def _few_images(images: ImageSplit) -> Iterator[str]:
    if images.calibration is not None and (count := len(images.calibration.files)) < FEW_IMAGES:
        yield (
            f"the ranges of the 8-bit activations hold for every image, though taken from {count} alone "
            f"(`calibration`; better are {FEW_IMAGES} or more)"
        )


def _held_out(options: Options, images: ImageSplit) -> Iterator[str]:
    if options.samples.folder is None and images.samples is not None:
        yield (
            f"{len(images.samples.files)} images of `calibration` are held out to verify on, and no range is taken "
            "from them (`samples=DIR` verifies on others, `samples.size=N` holds out another number)"
        )


def _certain_size(options: Options) -> tuple[int, int] | None:
    """The input size that the user stated: by the option, or in a JSON file. That of a preset is only a default."""
    if options.input_size is not None or is_preset(options.preprocess):
        return options.input_size
    return stated_size(options.preprocess)


def _preprocessing(options: Options, loaded: LoadedModel) -> tuple[Preprocessing, tuple[str, ...], tuple[str, ...]]:
    """Return (preprocessing, assumptions, remarks): by the option, else by the checkpoint, else by default."""
    size, channels = loaded.input_size, loaded.input_channels
    if options.preprocess == FIND:
        return (
            resolve_preprocessing("plain", size=size, channels=channels),
            (),
            (),
        )  # replaced once the search has ended
    if options.preprocess is not None:
        return resolve_preprocessing(options.preprocess, size=size, channels=channels), (), ()
    preset = "imagenet" if channels == 3 else "plain"
    usual = resolve_preprocessing(preset, size=size, channels=channels)
    preprocessing, remarks, unsaid = apply_statements(usual, loaded.metadata, size)
    choice = f"{preset} is assumed for {counted(channels, 'channel')}"
    note = f"no `preprocess` was given: {choice}; predictions are wrong if training used another"
    if preprocessing != usual:
        note = f"no `preprocess` was given, and the checkpoint doesn't state {' and '.join(unsaid)}: {choice} there"
    return preprocessing, (note,) if unsaid else (), remarks


def _labels(options: Options, loaded: LoadedModel) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    if options.labels is not None:
        return read_labels(options.labels, loaded.num_classes), ()
    return labels_from_checkpoint(loaded.metadata.labels, loaded.num_classes)


def _with_search(plan: Plan, on_step: OnStep, on_note: OnNote) -> Plan:
    """Return ``plan`` with the preprocessing found on labelled samples, to be verified on the remaining samples."""
    image = (plan.input_spec.channels, *plan.input_spec.size)
    samples = None if plan.options.samples.folder is None else plan.images.samples
    images = split_labelled(samples, plan.labels, macs=layer_table(plan.loaded.module, image).macs)
    search = search_preprocessing(plan.loaded, images, batch=plan.input_spec.batch_size, on_step=on_step)
    require_clear(search)
    notes = tuple(findings(search, sample_count=len(images.rest.files), held_out=images.held_out))
    note_assumptions(notes, on_note)
    return replace(
        plan,
        preprocessing=search.best.preprocessing,
        assumptions=(*plan.assumptions, *notes),
        images=replace(plan.images, samples=images.rest),
        search=search,
    )
