/** The page itself: an image or the camera in, the classes and how they were computed out. */

import { Classifier } from "./vgg_runtime.js";

const byId = (id) => document.getElementById(id);
const TOP_K = 5;

/** The camera's stream; null while it is off. */
let stream = null;

async function start() {
  const options = Object.fromEntries(new URLSearchParams(location.search));
  if (options.threads) options.threads = Number(options.threads);
  const classifier = await Classifier.open("bundle/", { ...options, onProgress: showProgress });
  showStatus("Running the self-test.");
  const figures = await classifier.selfTest();
  showFacts(classifier, figures);
  byId("progress").hidden = true;
  showStatus("Ready: choose an image.");
  listen(classifier);
}

function listen(classifier) {
  const [file, camera] = [byId("file"), byId("camera")];
  const show = (image) => attempt(() => classifyFile(classifier, image));
  file.disabled = false;
  file.addEventListener("change", () => file.files.length && show(file.files[0]));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => event.clipboardData.files.length && show(event.clipboardData.files[0]));
  camera.disabled = !navigator.mediaDevices;
  if (camera.disabled) camera.title = "This browser offers a camera over https and on localhost only.";
  camera.addEventListener("click", () => attempt(() => (stream === null ? watch(classifier) : stopCamera())));
}

async function classifyFile(classifier, file) {
  stopCamera();
  const preview = byId("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.alt = `The chosen image, ${file.name}`;
  showOnly(preview);
  await classify(classifier, file);
  showStatus(`${file.name}:`);
}

/** Classify the frames of the camera, one after the other, until it is switched off. */
async function watch(classifier) {
  const video = byId("video");
  stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  const own = stream;
  video.srcObject = own;
  await video.play();
  showOnly(video);
  byId("camera").textContent = "Stop the camera";
  byId("camera").setAttribute("aria-pressed", "true");
  byId("predictions").setAttribute("aria-live", "off"); // a screen reader could not keep up
  showStatus("The camera's picture:");
  try {
    while (stream === own) {
      await classify(classifier, video);
      await new Promise(requestAnimationFrame); // does not come while the page is hidden
    }
  } finally {
    if (stream === own) stopCamera();
  }
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  byId("camera").textContent = "Use the camera";
  byId("camera").setAttribute("aria-pressed", "false");
  byId("predictions").setAttribute("aria-live", "polite");
}

async function classify(classifier, image) {
  const start = performance.now();
  const predictions = await classifier.predict(image, { topK: TOP_K });
  byId("duration").textContent = `${(performance.now() - start).toFixed(1)} ms, with decoding and resizing`;
  byId("predictions").replaceChildren(...predictions.map(toItem));
}

function toItem({ label, probability }) {
  const item = document.createElement("li");
  const bar = Object.assign(document.createElement("span"), { className: "bar" });
  bar.style.width = `${probability * 100}%`;
  const texts = [label, `${(probability * 100).toFixed(2)} %`].map((text) =>
    Object.assign(document.createElement("span"), { textContent: text }),
  );
  item.append(...texts, bar);
  return item;
}

function showOnly(visible) {
  for (const id of ["empty", "preview", "video"]) byId(id).hidden = byId(id) !== visible;
}

function showFacts(classifier, figures) {
  const { variant, manifest, backend, backendReason, threads } = classifier;
  const facts = {
    Network: manifest.architecture.description,
    Variant: `${variant.name}, ${megabytes(variant.bytes)}; its files have the checksums of the export`,
    Engine: `onnxruntime-web on ${describeBackend(backend, threads)} (${backendReason})`,
    "Self-test": describeSelfTest(figures),
    Preprocessing: describePreprocessing(manifest.preprocessing),
    Classes: `${manifest.output.classes}`,
  };
  const entries = Object.entries(facts).flatMap(([name, text]) => [
    Object.assign(document.createElement("dt"), { textContent: name }),
    Object.assign(document.createElement("dd"), { textContent: text }),
  ]);
  byId("facts").replaceChildren(...entries);
  byId("facts-section").hidden = false;
}

function describeBackend(backend, threads) {
  if (backend === "webgpu") return "WebGPU";
  if (threads > 1) return `WASM, ${threads} threads`;
  return crossOriginIsolated ? "WASM, 1 thread" : "WASM, 1 thread, because this page is not cross-origin isolated";
}

function describeSelfTest(figures) {
  if (figures === null) return "not run, because the bundle was exported without verification";
  const agreement = figures.snrDb === Infinity ? "equal to the bit" : `${figures.snrDb.toFixed(1)} dB signal-to-noise`;
  const top1 = (figures.top1Agreement * 100).toFixed(1);
  return `passed: ${agreement}, top-1 agreement ${top1} % on ${figures.samples} golden samples`;
}

function describePreprocessing({
  channels,
  resize,
  interpolation,
  crop,
  permutation,
  divide_by,
  mean,
  std,
  exif_orientation,
}) {
  const steps = [
    exif_orientation && "rotate by EXIF",
    channels === "L" ? "luma" : channels,
    resize && `resize ${[].concat(resize).join(" x ")} (${interpolation}, Pillow's pixels)`,
    crop && `centre crop ${crop.join(" x ")}`,
    permutation && `permute ${permutation.length} pixels`,
    `divide by ${divide_by}`,
    mean && `subtract ${mean.join(", ")}`,
    std && `divide by ${std.join(", ")}`,
  ];
  return steps.filter(Boolean).join("; ");
}

function showProgress(loaded, total) {
  byId("progress").value = loaded / total;
  showStatus(loaded < total ? `Loading the model, ${megabytes(total)}.` : "Starting the engine.");
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function showStatus(text) {
  byId("status").textContent = text;
  byId("error").hidden = true;
}

/** Run `action`; show what it raises. */
async function attempt(action) {
  try {
    await action();
  } catch (error) {
    byId("predictions").replaceChildren();
    byId("duration").textContent = "";
    byId("progress").hidden = true;
    showStatus("");
    byId("error").textContent = [error.message, error.hint].filter(Boolean).join(" ");
    byId("error").hidden = false;
  }
}

attempt(start);
