/** From raw outputs to figures: probabilities, and agreement with reference outputs. */

/** Two classes that the reference separates by less than this share of its largest output are tied, as in Python. */
const TIE = 1e-5;

/** Return the probabilities of the classes from outputs of the given kind, in float64. */
export function probabilities(outputs, kind) {
  const values = Array.from(outputs);
  if (kind === "probabilities") return values;
  if (kind === "log_probabilities") return values.map(Math.exp);
  const largest = Math.max(...values);
  const exponentials = values.map((value) => Math.exp(value - largest));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

/** Return the indices of `values`, the largest value first, and of equal ones the lower index. */
export function ranking(values) {
  return Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b);
}

/**
 * Return the agreement of outputs with reference outputs, as vgg_runtime.metrics.compare does.
 *
 * @param {Float32Array[]} references, @param {Float32Array[]} outputs one per sample
 * @param {{tie: number}} tolerance of the variant
 * @returns {{samples, snrDb, cosine, top1Agreement, top5Agreement}} snrDb is Infinity if all outputs are equal to the
 *   bit, top5Agreement is null with five classes or fewer
 */
export function compare(references, outputs, { tie }) {
  const pairs = references.map((reference, i) => ({ reference, output: outputs[i] }));
  const isFinite = outputs.every((output) => output.every(Number.isFinite));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const agreement = (k, deviations) =>
    isFinite ? mean(pairs.map(({ reference, output }) => topAgreement(reference, output, k, deviations))) : 0;
  return {
    samples: pairs.length,
    snrDb: isFinite ? snrDb(pairs) : -Infinity,
    cosine: isFinite ? Math.min(...pairs.map(({ reference, output }) => cosine(reference, output))) : -1,
    top1Agreement: agreement(1, tie),
    top5Agreement: references[0].length > 5 ? agreement(5, 0) : null,
  };
}

/** Return in words what falls short of `tolerance`; empty if nothing does. */
export function misses({ snrDb, cosine, top1Agreement, top5Agreement }, tolerance) {
  const figures = [
    ["signal-to-noise ratio in dB", snrDb, tolerance.min_snr_db],
    ["cosine", cosine, tolerance.min_cosine],
    ["top-1 agreement", top1Agreement, tolerance.min_top1_agreement],
    ["top-5 agreement", top5Agreement ?? Infinity, tolerance.min_top5_agreement],
  ];
  const short = figures.filter(([, value, minimum]) => !(value >= minimum)); // NaN falls short too
  return short.map(([name, value, minimum]) => `${name} ${value.toPrecision(6)}, at least ${minimum}`);
}

function snrDb(pairs) {
  let [signal, noise] = [0, 0];
  for (const { reference, output } of pairs) {
    reference.forEach((value, i) => {
      signal += value ** 2;
      noise += (output[i] - value) ** 2;
    });
  }
  if (noise === 0) return Infinity;
  return signal > 0 ? 10 * Math.log10(signal / noise) : -Infinity;
}

function cosine(x, y) {
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const norms = Math.sqrt(dot(x, x)) * Math.sqrt(dot(y, y));
  if (norms === 0) return x.every((value, i) => value === y[i]) ? 1 : 0;
  return Math.min(dot(x, y) / norms, 1);
}

/** The share of the `k` best classes of `output` that are among those of `reference`, ties included. */
function topAgreement(reference, output, k, deviations) {
  const tie = TIE * Math.max(...reference.map(Math.abs)) + deviations * standardDeviation(reference);
  const threshold = reference.toSorted().at(-k) - tie;
  return (
    ranking(output)
      .slice(0, k)
      .filter((index) => reference[index] >= threshold).length / k
  );
}

function standardDeviation(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}
