/*
 * Classify an image in C, with ONNX Runtime's C API and a bundle that was exported with --embed-preprocessing:
 *
 *     classify BUNDLE VARIANT IMAGE
 *
 * Such a variant takes pixels, uint8 (1, height, width, channels); the image is a binary PPM (P6), or PGM (P5) for a
 * network of one channel, that has the network's size. It prints the best class, its output, and its label.
 */
#include <cjson/cJSON.h>
#include <onnxruntime_c_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const OrtApi *ort;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "error: %s: %s\n", what, why);
  exit(3);
}

static void check(OrtStatus *status, const char *what) {
  if (status) fail(what, ort->GetErrorMessage(status));
}

static char *read_text(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) fail(path, "cannot be opened");
  fseek(file, 0, SEEK_END);
  long size = ftell(file);
  char *text = calloc(size + 1, 1);
  rewind(file);
  if (fread(text, 1, size, file) != (size_t)size) fail(path, "cannot be read");
  fclose(file);
  return text;
}

/* Return a member of an object of bundle.json, or of the manifest itself. */
static const cJSON *member(const cJSON *object, const char *name) {
  const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
  if (!value) fail("bundle.json lacks", name);
  return value;
}

/* Read the pixels of an image of exactly this shape (1, height, width, channels). */
static uint8_t *read_pixels(const char *path, const int64_t shape[4]) {
  FILE *file = fopen(path, "rb");
  int width, height, largest;
  char kind;
  if (!file) fail(path, "cannot be opened");
  if (fscanf(file, "P%c %d %d %d%*c", &kind, &width, &height, &largest) != 4 || largest != 255)
    fail(path, "is not a binary PPM or PGM of 8 bits");
  if (kind != (shape[3] == 3 ? '6' : '5')) fail(path, shape[3] == 3 ? "is not a PPM (P6)" : "is not a PGM (P5)");
  if (height != shape[1] || width != shape[2]) fail(path, "has another size than the network takes");
  size_t size = shape[1] * shape[2] * shape[3];
  uint8_t *pixels = malloc(size);
  if (fread(pixels, 1, size, file) != size) fail(path, "is cut off");
  fclose(file);
  return pixels;
}

int main(int count, char **arguments) {
  if (count != 4) fail("usage", "classify BUNDLE VARIANT IMAGE");
  char path[4096];
  snprintf(path, sizeof path, "%s/bundle.json", arguments[1]);
  const cJSON *manifest = cJSON_Parse(read_text(path));
  if (!manifest) fail(path, "is not JSON");
  const cJSON *input = member(manifest, "input"), *output = member(manifest, "output");
  const cJSON *sizes = member(input, "shape");
  if (strcmp(cJSON_GetStringValue(member(input, "dtype")), "uint8")) fail(path, "export with --embed-preprocessing");
  int64_t shape[4] = {1};
  for (int axis = 1; axis < 4; axis++) shape[axis] = cJSON_GetArrayItem(sizes, axis)->valueint;
  uint8_t *pixels = read_pixels(arguments[3], shape);

  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (!ort) fail("libonnxruntime", "is older than the header that this was compiled with");
  OrtEnv *env;
  OrtSessionOptions *options;
  OrtSession *session;
  OrtMemoryInfo *memory;
  OrtValue *image, *result = NULL;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "classify", &env), "environment");
  check(ort->CreateSessionOptions(&options), "options");
  snprintf(path, sizeof path, "%s/%s/model.onnx", arguments[1], arguments[2]);
  check(ort->CreateSession(env, path, options, &session), path);
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory), "memory");
  size_t size = shape[1] * shape[2] * shape[3];
  check(ort->CreateTensorWithDataAsOrtValue(memory, pixels, size, shape, 4, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &image),
        "input");
  const char *from[] = {cJSON_GetStringValue(member(input, "name"))};
  const char *to[] = {cJSON_GetStringValue(member(output, "name"))};
  check(ort->Run(session, NULL, from, (const OrtValue *const *)&image, 1, to, 1, &result), arguments[2]);

  float *logits;
  check(ort->GetTensorMutableData(result, (void **)&logits), "output");
  int best = 0, classes = member(output, "classes")->valueint;
  for (int i = 1; i < classes; i++)
    if (logits[i] > logits[best]) best = i;
  const cJSON *label = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(manifest, "labels"), best);
  printf("%d %.6g %s\n", best, logits[best], label ? label->valuestring : "");
  return 0; /* the system frees what is left */
}
