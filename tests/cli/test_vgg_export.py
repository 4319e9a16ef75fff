"""``vgg-export`` as its users call it: in a folder that holds their checkpoint and little else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import pytest
import torch

from vgg_bench.analysis.ranking import rank_results
from vgg_bench.formatting import interval
from vgg_bench.results import Results
from vgg_bench.timing.rounds import Schedule
from vgg_export.cli import main
from vgg_export.variants.registry import VARIANTS
from vgg_runtime import Classifier
from vgg_runtime.bundle.directory import open_bundle

SCRIPTS = Path(sys.executable).parent

FLOAT32 = [spec for spec in VARIANTS if spec.precision == "fp32"]


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str


Command = Callable[..., Outcome]


@pytest.fixture
def folder(example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: the example's checkpoint, saved as a bare state dict, its labels and preprocessing."""
    for name in ("slim_vgg.pth", "class_indices.json", "preprocess.json"):
        shutil.copy(example.folder / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def vgg_export(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run the command's entry point in this process. What is refused must leave nothing and show no traceback."""

    def run(*arguments: str | Path) -> Outcome:
        before = everything_in(folder)
        monkeypatch.setattr(sys, "argv", ["vgg-export", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        outcome = Outcome(leaving.value.code, *capfd.readouterr())
        assert "Traceback" not in outcome.stderr
        assert ".partial" not in outcome.stderr
        if outcome.code != 0 and "left out of the bundle" not in outcome.stderr:
            assert everything_in(folder) == before
            assert not outcome.stdout
        return outcome

    return run


def everything_in(folder: Path) -> dict[Path, bytes | None]:
    paths = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


def test_a_new_user_with_a_bare_state_dict_names_nothing(folder: Path, example) -> None:
    def call(*command: str) -> str:
        done = subprocess.run(
            [SCRIPTS / command[0], *command[1:]], cwd=folder, check=True, capture_output=True, text=True
        )
        assert "Warning" not in done.stderr
        return done.stdout

    (folder / "onnx.py").write_text("raise SystemExit('what lies beside a checkpoint is not imported')")
    assert "onnx-fp32" in call("vgg-export", "slim_vgg.pth", "-o", "slim.bundle")
    names = {path.relative_to(folder).as_posix() for path in (folder / "slim.bundle").rglob("*.*")}
    assert names == {
        "slim.bundle/bundle.json",
        "slim.bundle/golden.npz",
        "slim.bundle/report.md",
        "slim.bundle/onnx-fp32/model.onnx",
        "slim.bundle/onnx-fp32/model.onnx.data",
        "slim.bundle/torchscript-fp32/model.pt",
    }
    image = str(example.images / "bag" / "00018.png")
    assert call("vgg-run", "predict", "slim.bundle", image, "--top-k", "1", "--device", "cpu").endswith("  8\n")


def test_the_demo_names_classes(vgg_export: Command, example) -> None:
    options = ("--preprocess", "preprocess.json", "--labels", "class_indices.json", "--samples", example.images)
    done = vgg_export("slim_vgg.pth", "-o", "slim.bundle", "--format", "onnx", *options)
    assert done.code == 0
    assert "predictions are wrong" not in done.stderr  # nothing about preprocessing had to be assumed
    with Classifier.open("slim.bundle") as classifier:
        for kind in ("bag", "sandal", "trouser"):
            assert classifier.predict(next((example.images / kind).iterdir()))[0].label == kind


def test_sign_signs_with_the_key(vgg_export: Command, signer) -> None:
    arguments = ("slim_vgg.pth", "-o", "slim.bundle", "--format", "onnx", "--sign")
    refused = vgg_export(*arguments, signer.public)
    assert (refused.code, "does not hold a private Ed25519 key" in refused.stderr) == (3, True)
    assert vgg_export(*arguments, signer.private).code == 0
    assert open_bundle("slim.bundle", key=signer.public).manifest.variants[0].name == "onnx-fp32"


def test_what_was_assumed_is_told(vgg_export: Command) -> None:
    stderr = vgg_export("slim_vgg.pth", "--dry-run").stderr
    assert "assumed: no --preprocess was given: plain is assumed for 1 channel;" in stderr


def test_notes_tell_choice_of_weights_and_stated_facts(vgg_export: Command, folder: Path) -> None:
    weights = torch.load("slim_vgg.pth", weights_only=True)
    average = {key: value * 0.5 for key, value in weights.items()}
    torch.save({"model": weights, "ema": average, "classes": list("abcdefghij")}, "last.pth")
    done = vgg_export("last.pth", "-o", "last.bundle", "--format", "onnx", "--weights", "ema")
    assert done.code == 0
    remarks = [
        "the average of the weights under ema was taken, not the raw ones under model",
        "labels: taken from 'classes' in the checkpoint",
    ]
    assert [f"note: {remark}" for remark in remarks] == [line for line in done.stderr.splitlines() if "note:" in line]
    manifest = open_bundle("last.bundle").manifest
    assert set(remarks) <= set(manifest.source.notes)
    assert manifest.source.averaged
    assert manifest.labels == tuple("abcdefghij")


def test_dry_run_shows_the_layers_and_writes_nothing(vgg_export: Command, folder: Path) -> None:
    before = everything_in(folder)
    done = vgg_export("slim_vgg.pth", "--dry-run", "-o", "slim.bundle")
    assert done.code == 0
    assert everything_in(folder) == before
    weights = sum(tensor.numel() for tensor in torch.load("slim_vgg.pth", weights_only=True).values())
    total = next(line for line in done.stdout.splitlines() if line.startswith("total"))
    trained = weights - sum(
        tensor.numel()
        for name, tensor in torch.load("slim_vgg.pth", weights_only=True).items()
        if name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )
    assert f"{trained:,}" in total
    assert "would write   torchscript-fp32/model.pt" in done.stdout


def test_dry_run_of_vgg16_has_the_papers_totals(vgg_export: Command) -> None:
    plan = json.loads(vgg_export("random:vgg16", "--dry-run", "--json").stdout)
    assert plan["totals"] == {"parameters": 138_357_544, "bytes": 4 * 138_357_544, "macs": 15_470_264_320}
    assert plan["input"]["shape"] == ["batch", 3, 224, 224]


def test_json_is_all_there_is_on_stdout(vgg_export: Command) -> None:
    done = vgg_export("slim_vgg.pth", "-o", "slim.bundle", "--format", "onnx", "--json")
    output = json.loads(done.stdout)
    assert output["bundle"] == "slim.bundle"
    assert output["manifest"] == json.loads(Path("slim.bundle", "bundle.json").read_text())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index_to_name.json", {str(i): f"class {i}" for i in range(10)}),
        ("name_to_index.json", {f"class {i}": i for i in reversed(range(10))}),
        ("list.json", [f"class {i}" for i in range(10)]),
        ("lines.txt", "\n".join(f"class {i}" for i in range(10))),
    ],
)
def test_labels_in_every_form(vgg_export: Command, name: str, content) -> None:
    Path(name).write_text(content if isinstance(content, str) else json.dumps(content))
    plan = json.loads(vgg_export("slim_vgg.pth", "--dry-run", "--json", "--labels", name).stdout)
    assert plan["labels"] == [f"class {i}" for i in range(10)]


@pytest.mark.parametrize(
    ("option", "mean"), [("mnist", [0.1307]), ("half", [0.5]), ("plain", None), ("preprocess.json", [0.286])]
)
def test_preprocessing_by_preset_or_file(vgg_export: Command, option: str, mean: list[float] | None) -> None:
    plan = json.loads(vgg_export("slim_vgg.pth", "--dry-run", "--json", "--preprocess", option).stdout)
    assert plan["preprocessing"]["mean"] == mean
    assert plan["preprocessing"]["resize"] == [28, 28]
    assert not any("--preprocess" in assumption for assumption in plan["architecture"]["assumptions"])


def test_unclear_search_shows_table_and_options(vgg_export: Command, example) -> None:
    labelled = ("--samples", example.images, "--labels", "class_indices.json")
    refused = vgg_export("slim_vgg.pth", "-o", "slim.bundle", "--preprocess", "find", *labelled)
    assert refused.code == 3
    assert "do not tell 3 ways of preprocessing apart (20 images)" in refused.stderr
    assert "\n  half                          90.0% " in refused.stderr
    assert "\n       --preprocess half\n" in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--samples is missing"),
        (["--labels", "class_indices.json"], "--samples is missing"),
        (["--samples", "sorted"], "--labels is missing"),
        (["--samples", "unsorted", "--labels", "class_indices.json"], "not named after a label: 2026"),
    ],
)
def test_a_search_says_what_it_needs(vgg_export: Command, example, folder: Path, options: list[str], message) -> None:
    shutil.copytree(example.images, folder / "sorted")
    shutil.copytree(example.images / "bag", folder / "unsorted" / "2026")
    refused = vgg_export("slim_vgg.pth", "--dry-run", "--preprocess", "find", *options)
    assert (refused.code, message in refused.stderr) == (2, True)


def test_a_fixed_batch_and_a_single_file_of_an_opset(vgg_export: Command, example) -> None:
    options = ("--batch", "4", "--single-file", "--opset", "18", "--format", "onnx", "--samples", example.images)
    assert vgg_export("slim_vgg.pth", "-o", "slim.bundle", *options).code == 0
    bundle = open_bundle("slim.bundle")
    (variant,) = bundle.manifest.variants
    assert (bundle.manifest.input.batch_size, variant.opset, variant.external_data) == (4, 18, None)
    assert variant.parity is not None
    assert variant.parity.samples == 20  # five batches of four: every image that was given
    assert not any(tensor.external_data for tensor in onnx.load("slim.bundle/onnx-fp32/model.onnx").graph.initializer)
    with Classifier.open("slim.bundle") as classifier:
        assert len(classifier.predict_batch(sorted(example.images.rglob("*.png"))[:6])) == 6


@pytest.mark.parametrize("size", ["28", "28x28", "28X28"])
def test_input_size_in_both_forms(vgg_export: Command, size: str) -> None:
    plan = json.loads(vgg_export("slim_vgg.pth", "--dry-run", "--json", "--input-size", size).stdout)
    assert plan["input"]["shape"] == ["batch", 1, 28, 28]


def test_a_module_of_the_current_directory_is_found(vgg_export: Command, folder: Path) -> None:
    (folder / "their_net.py").write_text(
        "import torch\nmodel = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))"
    )
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).state_dict(), "linear.pth")
    options = ("--model", "their_net:model", "--input-size", "2", "--preprocess", "plain")
    plan = json.loads(vgg_export("linear.pth", "--dry-run", "--json", *options).stdout)
    assert plan["architecture"]["origin"] == "user code"
    assert not {str(folder), ""} & set(sys.path)


def test_overwrite_replaces_a_bundle(vgg_export: Command) -> None:
    assert vgg_export("slim_vgg.pth", "-o", "slim.bundle", "--format", "torchscript", "--no-verify").code == 0
    refused = vgg_export("slim_vgg.pth", "-o", "slim.bundle", "--format", "onnx")
    assert (refused.code, "--overwrite" in refused.stderr) == (2, True)
    assert vgg_export("slim_vgg.pth", "-o", "slim.bundle", "--format", "onnx", "--overwrite").code == 0
    assert [variant.name for variant in open_bundle("slim.bundle").manifest.variants] == ["onnx-fp32"]


STATIC = ["slim_vgg.pth", "-o", "b", "--format", "onnx", "--quantize", "static", "--calibration"]


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (2, [], "Missing argument"),
        (2, ["slim_vgg.pth"], "-o BUNDLE"),
        (2, ["slim_vgg.pth", "-o", "b", "--opset", "13"], "cannot write opset 13"),
        (2, ["slim_vgg.pth", "-o", "b", "--batch", "0"], "must be 'dynamic' or an integer >= 1, got '0'"),
        (2, ["slim_vgg.pth", "-o", "b", "--input-size", "1x2x3"], "is not a size"),
        (2, ["slim_vgg.pth", "-o", "b", "--input-size", "0"], "is not a size"),
        (2, ["slim_vgg.pth", "-o", "b", "--format", "tflite"], "'onnx', 'torchscript'"),
        (2, ["slim_vgg.pth", "-o", "b", "--seed", "-1"], "--seed"),
        (2, ["slim_vgg.pth", "-o", "b", "--model", "vgg99"], "vgg99"),
        (2, ["slim_vgg.pth", "-o", "photos", "--overwrite"], "is not a bundle"),
        (2, ["slim_vgg.pth", "-o", "preprocess.json", "--overwrite"], "is not a bundle"),
        (2, ["slim_vgg.pth", "-o", "b", "--quantize", "int3"], "'int3' is not one of(.|\n)*'dynamic', 'static'"),
        (2, ["slim_vgg.pth", "-o", "b", "--target", "sparc"], "'sparc' is not one of(.|\n)*'any', 'vnni'"),
        (
            2,
            ["slim_vgg.pth", "-o", "b", "--calibration-method", "max"],
            "'max' is not one of(.|\n)*'minmax'",
        ),
        (2, ["slim_vgg.pth", "-o", "b", "--calibration-size", "0"], "--calibration-size"),
        (
            2,
            ["slim_vgg.pth", "-o", "b", "--quantize", "static", "--format", "torchscript"],
            "Available for onnx: .*; for torchscript: dynamic",
        ),
        (3, [*STATIC, "photos"], "contains no images"),
        (3, [*STATIC, "none"], "there is no folder none"),
        (3, [*STATIC, "one", "--calibration-size", "2"], "has 1 image for calibration .* 2 are needed"),
        (3, [*STATIC, "broken"], r"1 of 1 calibration images are unreadable, .* cut\.png"),
        (3, ["none.pth", "-o", "b"], r"none\.pth"),
        (3, ["preprocess.json", "-o", "b"], r"preprocess\.json"),
        (3, ["slim_vgg.pth", "-o", "b", "--labels", "none.json"], r"no labels file none\.json"),
        (3, ["slim_vgg.pth", "-o", "b", "--labels", "imagenet"], "1000 classes, the network has 10"),
        (3, ["slim_vgg.pth", "-o", "b", "--labels", "preprocess.json"], "neither a list of names, nor"),
        (3, ["slim_vgg.pth", "-o", "b", "--preprocess", "imagenet"], "the network takes 1"),
        (3, ["slim_vgg.pth", "-o", "b", "--preprocess", "class_indices.json"], "not a description of preprocessing"),
        (3, ["slim_vgg.pth", "-o", "b", "--preprocess", "nan.json"], "mean is"),
        (3, ["slim_vgg.pth", "-o", "b", "--samples", "photos"], "contains no images"),
        (3, ["slim_vgg.pth", "-o", "b", "--samples", "none"], "no file none"),
        (5, ["slim_vgg.pth", "-o", "preprocess.json/b"], "cannot be written"),
        (5, ["slim_vgg.pth", "-o", "new/" + "b" * 300], "cannot be written"),
    ],
)
def test_refusals(vgg_export: Command, folder: Path, code: int, arguments: list[str], message: str) -> None:
    (folder / "photos").mkdir()
    (folder / "photos" / "diary.txt").write_text("mine")
    for name, content in (("one", b"P5 1 1 255 x"), ("broken", b"P5")):
        (folder / name).mkdir()
        (folder / name / "cut.png").write_bytes(content)
    (folder / "nan.json").write_text('{"channels": "L", "mean": [NaN]}')
    refused = vgg_export(*arguments)
    assert refused.code == code
    assert re.search(message, refused.stderr), refused.stderr


def test_tuning_without_compression_names_the_option_to_add(vgg_export: Command) -> None:
    refused = vgg_export("slim_vgg.pth", "-o", "slim.bundle", "--tune", "2")
    assert refused.code == 2
    assert "--tune trains the network that --compress makes" in refused.stderr
    assert refused.stderr.splitlines()[-1].strip() == "Add --compress auto."


def test_static_without_images_names_the_option_to_add(
    vgg_export: Command, calibration_photos: Path, untimed: None
) -> None:
    """What the hint gives works as it stands, added to the command that was refused."""
    arguments = ["slim_vgg.pth", "-o", "slim.bundle", "--quantize", "static", "--format", "onnx"]
    refused = vgg_export(*arguments)
    assert refused.code == 2
    assert "--quantize static needs real images to compute ranges from" in refused.stderr
    add, option, folder = refused.stderr.splitlines()[-1].split()
    assert (add, option, folder) == ("Add", "--calibration", "FOLDER_OF_PHOTOS.")
    assert vgg_export(*arguments, option, calibration_photos).code == 0
    assert "onnx-int8-static" in {variant.name for variant in open_bundle("slim.bundle").manifest.variants}


def test_calibration_images_that_were_skipped_are_named(
    vgg_export: Command, calibration_photos: Path, untimed: None, tmp_path: Path
) -> None:
    photos = shutil.copytree(calibration_photos, tmp_path / "with one broken")
    (photos / "cut\x1b.png").write_bytes(b"\x89PNG")
    done = vgg_export(*STATIC, photos)
    assert done.code == 0, done.stderr
    assert r"skipped: cut\x1b.png (" in done.stderr
    assert "cut" in Path("b/report.md").read_text()


def test_a_quantized_export_is_timed_and_judged(vgg_export: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgg_export.writing.ranking.SCHEDULE", Schedule(rounds=2, seconds=0, min_calls=2, max_calls=2))
    Path("json.py").write_text("raise SystemExit('what lies beside a checkpoint is not imported')")
    done = vgg_export("slim_vgg.pth", "-o", "slim.bundle", "--format", "onnx", "--quantize", "dynamic")
    assert done.code == 0
    results = Results.parse(Path("slim.bundle/measured.json").read_bytes(), source="measured.json")
    assert (results.bundle, results.baseline) == ("slim.bundle", ("onnx-fp32", "onnxruntime"))
    assert [row.subject.variant for row in results.rows] == ["onnx-fp32", "onnx-int8-dynamic"]
    verdicts, text = rank_results(results), Path("slim.bundle/report.md").read_text()
    assert sum(verdict.rank == "recommended" for verdict in verdicts.values()) == 1
    for row in results.rows:
        verdict = verdicts[row.subject]
        assert f"| {row.subject.variant} | {interval(row.latency.p50)} | {interval(row.ratio)} |" in text
        assert f"{verdict.rank}: {verdict.why}" in text
        assert f"{verdict.rank}: {verdict.why}" in done.stdout
    (recommended,) = (subject.variant for subject, verdict in verdicts.items() if verdict.rank == "recommended")
    assert results.recommended == recommended
    assert done.stdout.splitlines()[-1] == f"vgg-run predict slim.bundle IMAGE --variant {recommended}"


def test_dynamic_without_linear_layers_is_refused(vgg_export: Command, folder: Path) -> None:
    torch.manual_seed(0)
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 8), torch.nn.Flatten()), "flat.pth")
    options = ("--quantize", "dynamic", "--input-size", "8")
    refused = vgg_export("flat.pth", "-o", "a", *options)
    assert refused.code == 3
    assert "error: int8-dynamic: the network has nothing to quantize in this way; its operators: Conv" in refused.stderr
    refused = vgg_export("flat.pth", "-o", "a", "--format", "torchscript", *options)
    assert refused.code == 3
    assert "no Linear layer" in refused.stderr


def test_a_dry_run_tells_the_quantized_files(vgg_export: Command) -> None:
    done = vgg_export("slim_vgg.pth", "--dry-run", "--quantize", "dynamic")
    for name in ("onnx-int8-dynamic/model.onnx", "torchscript-int8-dynamic/model.pt"):
        assert f"would write   {name}" in done.stdout


@pytest.mark.parametrize("name", ["onnx-int8-static", "onnx-int4-weights", "torchscript-int8-dynamic"])
def test_a_quantized_variant_left_out_is_exit_code_4(
    vgg_export: Command, monkeypatch: pytest.MonkeyPatch, calibration_photos: Path, untimed: None, name: str
) -> None:
    (spec,) = (spec for spec in VARIANTS if spec.name == name)
    strict = replace(spec, tolerance=replace(spec.tolerance, min_snr_db=500))
    float32 = [other for other in FLOAT32 if other.format == spec.format]
    monkeypatch.setattr("vgg_export.variants.registry.VARIANTS", (*float32, strict))
    options = ("--format", spec.format, "--quantize", spec.quantize, "--calibration", calibration_photos)
    missed = vgg_export("slim_vgg.pth", "-o", "slim.bundle", *options)
    assert missed.code == 4
    lines = missed.stderr.splitlines()
    error = next(line for line in lines if line.startswith(f"error: {name} differs from eager PyTorch"))
    assert error.endswith("It was left out of the bundle.")
    assert lines[-1].endswith(f". leave out --quantize {spec.quantize}")
    assert lines.index(error) > max(i for i, line in enumerate(lines) if line.startswith("assumed: "))
    manifest = open_bundle("slim.bundle").manifest
    assert [variant.name for variant in manifest.variants] == [f"{spec.format}-fp32"]
    assert f"{spec.format}-fp32" in missed.stdout


@pytest.mark.parametrize("spec", FLOAT32, ids=lambda spec: spec.name)
def test_a_parity_miss_is_exit_code_4(vgg_export: Command, monkeypatch: pytest.MonkeyPatch, spec) -> None:
    strict = replace(spec, tolerance=replace(spec.tolerance, min_snr_db=500))
    monkeypatch.setattr("vgg_export.variants.registry.VARIANTS", (strict,))
    missed = vgg_export("slim_vgg.pth", "-o", "new/slim.bundle")
    assert missed.code == 4
    assert "assumed: no --preprocess was given" in missed.stderr.partition("error: ")[0]
    assert f"{spec.name} differs from eager PyTorch" in missed.stderr


@pytest.mark.parametrize("way", [("--dry-run",), ("-o", "linear.bundle", "--format", "onnx")], ids=["plan", "bundle"])
def test_what_the_user_s_module_prints_is_kept_off_stdout(
    vgg_export: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, way: tuple[str, ...]
) -> None:
    monkeypatch.delitem(sys.modules, "printing", raising=False)
    (folder / "printing.py").write_text(
        "import torch\n"
        "print('at import')\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self): super().__init__(12, 3); print('when made')\n"
        "    def forward(self, x): print('when run'); return super().forward(x.flatten(1))\n"
    )
    torch.save(torch.nn.Linear(12, 3).state_dict(), "linear.pth")
    options = ("--model", "printing:Net", "--input-size", "2", "--preprocess", "plain", "--json")
    done = vgg_export("linear.pth", *way, *options)
    assert done.code == 0
    assert json.loads(done.stdout)
    for printed in ("at import", "when made", "when run"):
        assert printed in done.stderr


def test_interrupted_export_leaves_nothing(folder: Path) -> None:
    (folder / "lesson.py").write_text(
        "import os, pathlib, signal, torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self): super().__init__(12, 3)\n"
        "    def forward(self, x):\n"
        "        if list(pathlib.Path().glob('.*.partial/*/onnx-fp32/*')): os.kill(os.getpid(), signal.SIGINT)\n"
        "        return super().forward(x.flatten(1))\n"
    )
    torch.save(torch.nn.Linear(12, 3).state_dict(), "linear.pth")
    before = everything_in(folder)
    options = ["--model", "lesson:Net", "--input-size", "2", "--preprocess", "plain"]
    done = subprocess.run(
        [SCRIPTS / "vgg-export", "linear.pth", "-o", "linear.bundle", *options], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (130, "")
    *notes, last = filter(None, done.stderr.splitlines())
    assert last == "interrupted; nothing was written."
    assert all(note.startswith("assumed: ") for note in notes)
    assert everything_in(folder) == before


def test_web_writes_a_page_beside_the_bundle(
    vgg_export: Command, folder: Path, install_engine: Callable[[Path], Path]
) -> None:
    install_engine(folder)
    options = ("slim_vgg.pth", "-o", "net.bundle", "--format", "onnx", "--preprocess", "preprocess.json")
    lines = vgg_export(*options, "--web", "page").stdout.splitlines()
    assert lines[-3] == "page: onnx-fp32 (1.7 MB) on onnxruntime-web 1.30.0"
    assert [path.name for path in (folder / "page" / "bundle").iterdir() if path.is_dir()] == ["onnx-fp32"]


def test_web_that_cannot_be_written_is_refused_before_export(vgg_export: Command, folder: Path) -> None:
    outcome = vgg_export("slim_vgg.pth", "-o", "net.bundle", "--web", "page")
    assert outcome.code == 5
    assert "npm install onnxruntime-web@1.30" in outcome.stderr
    assert not (folder / "net.bundle").exists()


def test_triton_writes_a_model_beside_the_bundle(vgg_export: Command, folder: Path) -> None:
    options = ("slim_vgg.pth", "-o", "net.bundle", "--format", "onnx", "--preprocess", "preprocess.json")
    lines = vgg_export(*options, "--triton", "models").stdout.splitlines()
    assert lines[-3] == "models/net/1: onnx-fp32 (1.7 MB)"
    assert (folder / "models" / "net" / "1" / "model.onnx").is_file()


def test_triton_name_that_is_in_use_is_refused_before_export(vgg_export: Command, folder: Path) -> None:
    (folder / "models" / "net").mkdir(parents=True)
    outcome = vgg_export("slim_vgg.pth", "-o", "net.bundle", "--triton", "models")
    assert outcome.code == 2
    assert "models/net exists and is not a model of this kind" in outcome.stderr
    assert not (folder / "net.bundle").exists()
