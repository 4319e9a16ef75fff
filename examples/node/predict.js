#!/usr/bin/env node
/** Classify image files: node predict.js [--variant NAME] [--top-k K] [--threads N] BUNDLE IMAGE... */

import { parseArgs } from "node:util";
import { Classifier, ImageError, UsageError, VggDeployError } from "./classifier.js";

const OPTIONS = {
  variant: { type: "string" },
  "top-k": { type: "string", default: "5" },
  threads: { type: "string", default: "0" },
};
const USAGE = "usage: node predict.js [--variant NAME] [--top-k K] [--threads N] BUNDLE IMAGE...";

/** Those of vgg-run. */
const EXIT_CODES = { UsageError: 2, BundleError: 3, ImageError: 3, MissingCapabilityError: 5 };
const VERIFICATION_FAILED = 4;

async function main() {
  const { values, positionals } = parseCommandLine();
  const [directory, ...images] = positionals;
  if (!images.length) throw new UsageError("a bundle and at least one image are needed.", USAGE);
  const classifier = await Classifier.open(directory, { variant: values.variant, threads: Number(values.threads) });
  try {
    await classifier.selfTest();
    for (const image of images) await show(classifier, image, Number(values["top-k"]));
  } finally {
    await classifier.close();
  }
}

function parseCommandLine() {
  try {
    return parseArgs({ options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error.message, USAGE);
  }
}

async function show(classifier, image, topK) {
  try {
    const predictions = await classifier.predict(image, { topK });
    console.log(image);
    for (const { probability, label } of predictions) console.log(`${percent(probability)}  ${label}`);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    console.error(`error: ${image}: ${error.message}`);
    process.exitCode = EXIT_CODES.ImageError;
  }
}

function percent(share) {
  return `${(share * 100).toFixed(2)}%`.padStart(9);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof VggDeployError)) throw error;
  console.error([`error: ${error.message}`, error.hint].filter(Boolean).join("\n       "));
  process.exitCode = EXIT_CODES[error.name] ?? VERIFICATION_FAILED;
}
