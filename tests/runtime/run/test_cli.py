"""``vgg-run`` as its users have it: a process, its two streams and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from PIL import Image

from vgg_runtime import Manifest
from vgg_runtime._internal.cpu import cpu_model_name
from vgg_runtime.bundle.manifest import Architecture, Source

MakeBundle = Callable[..., Path]
EditManifest = Callable[[Path, Callable[[dict[str, Any]], None]], None]

# What predict prints on stderr where no variant is named.
TOLD = "variant: onnx-fp32 (default)\n"

Run = subprocess.CompletedProcess[str]


def vgg_run(*arguments: str | Path, code: int = 0, cwd: Path | None = None) -> Run:
    """Run the command, hold it to its exit code, and see that no user is ever shown a traceback."""
    command = [sys.executable, "-c", "from vgg_run.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=cwd)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code not in (0, 3):
        assert done.stdout == ""
    return done


def predictions(*arguments: str | Path, code: int = 0) -> Any:
    return json.loads(vgg_run("predict", *arguments, "--json", code=code).stdout)


def test_predict_prints_one_line_for_each_image(bundle: Path, photos: Path) -> None:
    done = vgg_run("predict", bundle, photos, "--top-k", "1")
    assert done.stdout.splitlines() == [
        f"{photos / colour}.png   99.99%  {colour}" for colour in ("blue", "lime", "red")
    ]
    assert done.stderr == TOLD


def test_predict_prints_the_labels_of_an_image_below_it(bundle: Path, photos: Path) -> None:
    lines = vgg_run("predict", bundle, photos / "red.png", "--top-k", "2").stdout.splitlines()
    assert lines[:2] == [f"{photos}/red.png", "   99.99%  red"]
    assert len(lines) == 3


@pytest.mark.parametrize("batch_size", [1, 2, 10])
def test_json_is_all_there_is_on_stdout(bundle: Path, photos: Path, batch_size: int) -> None:
    # One image twice, and a folder: every argument has its entries, in order.
    entries = predictions(
        bundle, photos / "red.png", photos / "red.png", photos, "--batch-size", str(batch_size), "--device", "cpu"
    )
    assert [Path(entry["image"]).stem for entry in entries] == ["red", "red", "blue", "lime", "red"]
    assert [entry["predictions"][0]["label"] for entry in entries] == ["red", "red", "blue", "lime", "red"]
    assert {(entry["variant"], entry["device"]) for entry in entries} == {("onnx-fp32", "cpu")}
    assert set(entries[0]) == {"image", "variant", "device", "predictions"}
    assert entries[0]["predictions"][0] == {"label": "red", "index": 0, "probability": pytest.approx(0.9999, abs=1e-4)}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_unreadable_image_gives_its_error_among_the_others(
    bundle: Path, photos: Path, tmp_path: Path, batch_size: int
) -> None:
    (photos / "notes.jpg").write_text("hello")
    entries = predictions(bundle, tmp_path / "new\nline.jpg", photos, tmp_path, "--batch-size", str(batch_size), code=3)
    assert entries[0] == {"image": f"{tmp_path}/new\nline.jpg", "error": f"there is no file {tmp_path}/new line.jpg."}
    by_name = {Path(entry["image"]).stem: entry for entry in entries[1:]}
    assert by_name["lime"]["predictions"][0]["label"] == "lime"
    assert "is not in an image format" in by_name["notes"]["error"]


def test_without_json_errors_go_to_stderr(bundle: Path, photos: Path) -> None:
    done = vgg_run("predict", bundle, photos / "red.png", photos / "none.png", code=3)
    assert f"{photos / 'none.png'}: error: there is no file" in done.stderr
    assert "none.png" not in done.stdout
    assert "red" in done.stdout


def test_when_no_image_can_be_read_json_still_lists_them(bundle: Path, tmp_path: Path) -> None:
    entries = predictions(bundle, tmp_path / "a.png", tmp_path / "b.png", code=3)
    assert ["error" in entry for entry in entries] == [True, True]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems want file names to be text")
def test_a_file_name_that_is_no_text(bundle: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    name = os.fsdecode(path)
    with Path(name).open("wb") as file:
        Image.new("RGB", (8, 6), "red").save(file, "PNG")
    assert predictions(bundle, name)[0]["image"] == name
    assert r"caf\udce9.png" in vgg_run("predict", bundle, name).stdout


def test_warnings_of_pillow_do_not_reach_the_user(bundle: Path, tmp_path: Path) -> None:
    Image.new("P", (8, 6)).save(tmp_path / "palette.png", transparency=b"\x80")
    done = vgg_run("predict", bundle, tmp_path / "palette.png", "--device", "cpu")
    assert done.stderr == TOLD


def test_an_animation_is_told_of_on_stderr(bundle: Path, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    done = vgg_run("predict", bundle, tmp_path / "moving.gif", "--device", "cpu", "--json")
    assert done.stderr == f"{TOLD}{tmp_path / 'moving.gif'} has several frames; the first one is used.\n"
    assert json.loads(done.stdout)[0]["predictions"][0]["label"] == "red"


def test_a_file_name_in_a_log_message_is_printable(bundle: Path, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "mov\x1b[2Jing.gif", save_all=True, append_images=frames[1:])
    done = vgg_run("predict", bundle, tmp_path / "mov\x1b[2Jing.gif", "--device", "cpu")
    assert r"mov\x1b[2Jing.gif has several frames" in done.stderr


def test_the_limit_of_pixels_can_be_lowered(bundle: Path, photos: Path) -> None:
    entries = predictions(bundle, photos / "red.png", "--max-pixels", "199", code=3)
    assert "20 x 10 pixels, more than the limit of 199" in entries[0]["error"]


def test_predict_takes_a_lone_file(
    write_model: Callable[..., None], make_manifest: Callable[..., Manifest], tmp_path: Path, photos: Path
) -> None:
    write_model(tmp_path / "lone.onnx", metadata={"vgg_deploy.json": make_manifest().dump()})
    entries = predictions(tmp_path / "lone.onnx", photos / "blue.png")
    assert (entries[0]["variant"], entries[0]["predictions"][0]["label"]) == ("lone", "blue")


def write_measured(bundle: Path, recommended: str) -> None:
    """What the runtime reads of ``measured.json``."""
    measured = {"machine": {"processor": cpu_model_name()}, "recommended": recommended}
    (bundle / "measured.json").write_text(json.dumps(measured))


@pytest.mark.parametrize(
    ("arguments", "told", "best"),
    [
        ([], "variant: onnx-fp32 (default; recommended on the machine that exported: onnx-int8-static)\n", "99.99%"),
        (["--variant", "recommended"], "variant: onnx-int8-static (recommended on the machine that exported)\n", "57"),
        (["--variant", "onnx-int8-static"], "", "57"),
    ],
    ids=["default", "recommended", "named"],
)
def test_predict_tells_the_variant_that_was_not_named(
    make_bundle: MakeBundle, photos: Path, arguments: list[str], told: str, best: str
) -> None:
    bundle = make_bundle(weights={"onnx-fp32": 10.0, "onnx-int8-static": 1.0})
    write_measured(bundle, "onnx-int8-static")
    done = vgg_run("predict", bundle, photos / "red.png", *arguments)
    assert done.stderr == told
    assert best in done.stdout.splitlines()[1]


def test_verbose_tells_variant_device_and_backend(bundle: Path, photos: Path) -> None:
    done = vgg_run("predict", bundle, photos, "--device", "cpu", "--variant", "onnx-fp32", "-v")
    assert done.stderr.splitlines() == [
        "variant: onnx-fp32 (as asked)",
        "device: cpu (as asked)",
        "backend: onnxruntime (runs files of this format by default)",
    ]


def test_each_line_is_printed_as_soon_as_it_is_known(bundle: Path, tmp_path: Path) -> None:
    # The second answer is held back until the first one was read.
    Image.new("RGB", (8, 6), "red").save(tmp_path / "red.png")
    code = """
import sys
from vgg_runtime import classifier
from vgg_run.cli import main
predict_iter = classifier.Classifier.predict_iter
def waiting(self, images, **options):
    for answer in predict_iter(self, images, **options):
        yield answer
        assert sys.stdin.readline() == "next\\n"
classifier.Classifier.predict_iter = waiting
main()
"""
    command = [sys.executable, "-c", code, "predict", bundle, tmp_path / "red.png", tmp_path / "red.png", "--top-k=1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline() == f"{tmp_path / 'red.png'}   99.99%  red\n"
            process.stdin.write("next\n")
            process.stdin.flush()
        assert process.wait() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows reports a closed pipe in another way")
@pytest.mark.parametrize("command", ["predict", "info"])
def test_a_reader_that_leaves_ends_it_quietly(bundle: Path, photos: Path, command: str) -> None:
    arguments = [command, bundle, *([photos, "--variant", "onnx-fp32"] if command == "predict" else [])]
    reading, writing = os.pipe()
    os.close(reading)
    code = [sys.executable, "-c", "from vgg_run.cli import main; main()"]
    done = subprocess.run([*code, *map(str, arguments)], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Commands:\n"),
        (["predict"], 2, "Missing argument"),
        (["predict", "{bundle}"], 2, "Missing argument"),
        (["guess"], 2, "No such command"),
        (["predict", "{bundle}", "{photos}", "--top-k", "0"], 2, "--top-k"),
        (["predict", "{bundle}", "{photos}", "--batch-size", "none"], 2, "--batch-size"),
        (["predict", "{bundle}", "{photos}", "--device", "tpu"], 2, "--device"),
        (["predict", "{bundle}", "{photos}", "--threads", "257"], 2, "must be an integer from 1 to 256, got 257"),
        (["predict", "{photos}", "{photos}"], 3, "it has no bundle.json"),
        (["predict", "no.bundle", "{photos}", "--json"], 3, "there is no bundle at no.bundle"),
        (["predict", "{photos}/red.png", "{photos}"], 3, "cannot load"),
        (["predict", "{bundle}", "{bundle}"], 3, "contains no images"),
        (["predict", "{bundle}", "{photos}", "--variant", "onnx-fp16"], 3, "It has onnx-fp32"),
        (["info", "no.bundle"], 3, "A bundle is a directory that vgg-export wrote"),
        (["verify", "no.bundle"], 3, "there is no bundle"),
        (["info", "no\nbundle"], 3, "there is no bundle"),
    ],
)
def test_mistakes_are_told(bundle: Path, photos: Path, arguments: list[str], code: int, message: str) -> None:
    filled = [argument.format(bundle=bundle, photos=photos) for argument in arguments]
    done = vgg_run(*filled, code=code)
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA"
)
@pytest.mark.parametrize("command", ["predict", "verify"])
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_that_is_missing_is_exit_code_5(bundle: Path, photos: Path, command: str, device: str) -> None:
    images = [photos] if command == "predict" else []
    done = vgg_run(command, bundle, *images, "--device", device, code=5)
    assert "CUDA is missing: the installed onnxruntime" in done.stderr


def test_info_tells_what_is_in_the_bundle(make_bundle: MakeBundle) -> None:
    output = vgg_run("info", make_bundle(labels=("réd", "绿", "blue"))).stdout
    for part in ("colours: means of the planes", "3 x 6 x 8, batch dynamic", "réd, 绿, blue", "onnx-fp32"):
        assert part in output


def test_labels_and_names_cannot_steer_the_terminal(make_bundle: MakeBundle, photos: Path) -> None:
    bundle = make_bundle(labels=("\x1b[31mred", "li\nme", "blue"))
    odd = (photos / "red.png").rename(photos / "re\x1b[2Jd.png")
    output = vgg_run("predict", bundle, odd, "--top-k", "2").stdout + vgg_run("info", bundle).stdout
    assert "\x1b" not in output
    assert r"re\x1b[2Jd.png" in output
    assert output.count(r"\x1b[31mred") == 2
    assert r"li\nme" in output


def test_no_field_of_a_manifest_steers_the_terminal(
    make_bundle: MakeBundle, edit_manifest: EditManifest, photos: Path
) -> None:
    steer = "\x1b]0;mine\x07\x9b2J\u202e\n"
    bundle = make_bundle(
        architecture=Architecture(f"a{steer}", f"b{steer}", "named"),
        source=Source(f"c{steer}", "trained"),
        labels=(f"d{steer}", "e", "f"),
    )
    edit_manifest(bundle, lambda data: data["variants"][0].update(name=f"v{steer}"))
    shown = r"\x1b]0;mine\x07\x9b2J\u202e\n"
    commands = [["info", bundle], ["info", bundle, "--json"], ["verify", bundle], ["predict", bundle, photos, "-v"]]
    runs = [vgg_run(*command) for command in commands]
    runs.append(vgg_run("predict", bundle, photos, "--variant", f"w{steer}", code=3))
    for done in runs:
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(done.stdout + done.stderr)
    assert f"a{shown}: b{shown}" in runs[0].stdout
    assert f"v{shown}" in runs[2].stdout
    assert json.loads(runs[1].stdout)["labels"][0] == f"d{steer}"


def test_info_as_json_is_the_manifest(bundle: Path) -> None:
    output = vgg_run("info", bundle, "--json").stdout
    assert Manifest.parse(output, source="stdout") == Manifest.parse(
        (bundle / "bundle.json").read_text(), source="file"
    )


def test_info_of_a_lone_file_tells_what_it_carries(
    tmp_path: Path, write_model: Callable[..., None], make_manifest: Callable[..., Manifest]
) -> None:
    write_model(tmp_path / "lone.onnx", metadata={"vgg_deploy.json": make_manifest().dump()})
    output = vgg_run("info", tmp_path / "lone.onnx").stdout
    assert "labels         red, lime, blue" in output
    assert "variants" not in output


def test_an_image_out_of_reach_does_not_stop_the_others(bundle: Path, photos: Path) -> None:
    entries = predictions(bundle, photos / "lime.png", "x" * 300, photos / "red.png", code=3)
    assert [list(entry) for entry in entries][1] == ["image", "error"]
    assert [entries[i]["predictions"][0]["label"] for i in (0, 2)] == ["lime", "red"]


def test_the_self_test_runs_on_the_backend_that_is_named(bundle: Path) -> None:
    pytest.importorskip("openvino")
    assert "on 4 golden samples" in vgg_run("verify", bundle, "--backend", "openvino").stdout


def test_large_image_within_the_limit_gives_no_warning(bundle: Path, tmp_path: Path) -> None:
    Image.new("1", (9700, 9700)).save(tmp_path / "large.png")
    done = vgg_run("predict", bundle, tmp_path / "large.png", "--device", "cpu")
    assert done.stderr == TOLD


def test_verify_tells_what_was_held_against_what(bundle: Path) -> None:
    lines = vgg_run("verify", bundle).stdout.splitlines()
    assert lines[:2] == [
        "unchanged since the export: onnx-fp32, golden outputs",
        "bundle.json: equal to its copy in onnx-fp32",
    ]
    assert lines[2].startswith("onnx-fp32: ")
    assert lines[2].endswith("top-1 agreement 100.0% on 4 golden samples")
    assert len(lines) == 3


def test_verify_of_a_bundle_without_golden_samples_says_so(make_bundle: MakeBundle) -> None:
    assert vgg_run("verify", make_bundle(golden_samples=None)).stdout.splitlines() == [
        "unchanged since the export: onnx-fp32",
        "bundle.json: equal to its copy in onnx-fp32",
        "onnx-fp32: not run, because the bundle was exported without verification",
    ]


def test_predict_hashes_again_only_with_verify_always(decayed_bundle: Path, photos: Path) -> None:
    assert "red" in vgg_run("predict", decayed_bundle, photos / "red.png").stdout
    refused = vgg_run("predict", decayed_bundle, photos / "red.png", "--verify-always", code=3)
    assert "changed after it was written: onnx-fp32/model.onnx.data" in refused.stderr
    vgg_run("verify", decayed_bundle, code=4)


@pytest.mark.parametrize("arguments", [["verify"], ["predict", "{photos}", "--verify-always"]])
def test_damage_that_was_detected_once_is_not_forgotten(
    decayed_bundle: Path, photos: Path, arguments: list[str]
) -> None:
    command, *rest = (argument.format(photos=photos) for argument in arguments)
    assert "red" in vgg_run("predict", decayed_bundle, photos / "red.png").stdout
    vgg_run(command, decayed_bundle, *rest, code=4 if command == "verify" else 3)
    refused = vgg_run("predict", decayed_bundle, photos / "red.png", code=3)
    assert "changed after it was written: onnx-fp32/model.onnx.data" in refused.stderr


def test_changed_file_is_exit_4_to_verify_and_3_to_predict(bundle: Path, photos: Path) -> None:
    with (bundle / "onnx-fp32" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    for command, code in ((["verify", bundle], 4), (["predict", bundle, photos], 3)):
        done = vgg_run(*command, code=code)
        assert "changed after it was written: onnx-fp32/model.onnx" in done.stderr


def test_signed_bundle_runs_with_the_key(signed_bundle: Path, signer: Any, photos: Path) -> None:
    done = vgg_run("predict", signed_bundle, photos / "red.png", "--key", signer.public, "--top-k", "1")
    assert done.stdout.endswith("red\n")
    lines = vgg_run("verify", signed_bundle, "--key", signer.public).stdout.splitlines()
    assert lines[:2] == [
        f"bundle.json: signed by the key {signer.public}",
        "unchanged since the export: onnx-fp32, golden outputs",
    ]


def test_verify_without_key_says_what_was_not_verified(signed_bundle: Path) -> None:
    assert vgg_run("verify", signed_bundle).stdout.startswith("bundle.json.sig: not verified; give --key PUB\n")


def test_bundle_that_is_not_signed_is_exit_code_4(bundle: Path, signer: Any, photos: Path) -> None:
    for command in (["verify", bundle], ["predict", bundle, photos]):
        assert "is not signed: it has no bundle.json.sig" in vgg_run(*command, "--key", signer.public, code=4).stderr


def test_file_that_is_no_key_is_exit_code_3(signed_bundle: Path, photos: Path) -> None:
    refused = vgg_run("predict", signed_bundle, photos, "--key", photos / "red.png", code=3)
    assert "does not hold a public Ed25519 key" in refused.stderr
    assert not refused.stdout


def test_a_variant_that_misses_its_tolerance_is_exit_code_4(make_bundle: MakeBundle) -> None:
    done = vgg_run("verify", make_bundle(weights={"onnx-fp32": 11.0}), code=4)
    assert "signal-to-noise ratio in dB 20, at least 100" in done.stderr


def test_outputs_that_are_no_numbers_are_exit_code_4(make_bundle: MakeBundle, photos: Path) -> None:
    done = vgg_run("predict", make_bundle(weights={"onnx-fp32": float("nan")}), photos, "--json", code=4)
    assert "not finite" in done.stderr


def test_help_and_version() -> None:
    assert "predict" in vgg_run("--help").stdout
    assert "--device" in vgg_run("predict", "-h").stdout
    assert "version" in vgg_run("--version").stdout


def test_operators_are_refused_unless_allowed(looping_bundle: Path, photos: Path) -> None:
    refused = vgg_run("predict", looping_bundle, photos / "blue.png", code=3)
    assert "contains operators that vgg-export does not write: Loop." in refused.stderr
    assert "--allow-any-operator runs it" in refused.stderr
    allowed = predictions(looping_bundle, photos / "blue.png", "--allow-any-operator")
    assert allowed[0]["predictions"][0]["label"] == "blue"


def test_verify_refuses_operators_unless_allowed(looping_bundle: Path) -> None:
    assert "does not write: Loop." in vgg_run("verify", looping_bundle, code=3).stderr
    assert "top-1 agreement 100.0%" in vgg_run("verify", looping_bundle, "--allow-any-operator").stdout


def test_info_of_a_lone_file_runs_no_engine(looping_model: Path) -> None:
    assert "labels         red, lime, blue" in vgg_run("info", looping_model).stdout


def test_web_writes_a_page_with_what_npm_has_installed(
    bundle: Path, install_engine: Callable[[Path], Path], tmp_path: Path
) -> None:
    install_engine(tmp_path)
    lines = vgg_run("web", bundle.name, "-o", "page", cwd=tmp_path).stdout.splitlines()
    assert lines[0] == "page: onnx-fp32 (0.0 MB) on onnxruntime-web 1.30.0"
    assert lines[-1] == "python3 -m http.server -d page"
    assert (tmp_path / "page" / "index.html").is_file()
    refused = vgg_run("web", bundle.name, "-o", "page", cwd=tmp_path, code=2).stderr
    assert "Give --overwrite to replace it" in refused
    vgg_run("web", bundle.name, "-o", "page", "--overwrite", cwd=tmp_path)


def test_web_without_the_engine_names_the_command(bundle: Path, tmp_path: Path) -> None:
    refused = vgg_run("web", bundle, "-o", tmp_path / "page", cwd=tmp_path, code=5).stderr
    assert "there is no onnxruntime-web at node_modules/onnxruntime-web" in refused
    assert "npm install onnxruntime-web@1.30" in refused
    assert "--onnxruntime-web" in refused


def test_web_of_a_bundle_by_another_key_is_refused(
    signed_bundle: Path, make_keys: Any, install_engine: Callable[[Path], Path], tmp_path: Path
) -> None:
    install_engine(tmp_path)
    other = make_keys(tmp_path, "other").public
    vgg_run("web", signed_bundle, "-o", tmp_path / "page", "--key", other, cwd=tmp_path, code=4)
    assert not (tmp_path / "page").exists()


def test_triton_writes_a_model_and_then_its_next_version(bundle: Path, tmp_path: Path) -> None:
    first = vgg_run("triton", bundle.name, "-o", "models", "--max-batch", "4", "--instances", "2", cwd=tmp_path)
    assert first.stdout.splitlines() == [
        "models/colours/1: onnx-fp32 (0.0 MB)",
        "note: clients send images as float32 CHW 3 x 6 x 8, preprocessed",
        "tritonserver --model-repository models",
    ]
    config = (tmp_path / "models" / "colours" / "config.pbtxt").read_text()
    assert "max_batch_size: 4" in config
    assert "count: 2" in config
    assert vgg_run("triton", bundle.name, "-o", "models", cwd=tmp_path).stdout.startswith("models/colours/2: ")
    refused = vgg_run("triton", bundle.name, "-o", "models", "--max-batch", "4", cwd=tmp_path, code=2).stderr
    assert "Omit --max-batch" in refused


def test_triton_names_device_and_variant_by_options(bundle: Path, tmp_path: Path) -> None:
    options = ("--name", "net", "--device", "cpu", "--variant", "onnx-fp32")
    vgg_run("triton", bundle, "-o", tmp_path / "models", *options)
    assert "KIND_CPU" in (tmp_path / "models" / "net" / "config.pbtxt").read_text()
