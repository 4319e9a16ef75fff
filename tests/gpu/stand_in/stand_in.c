/* NVIDIA's driver, runtime, NVML, cuBLAS and cuDNN without a GPU, as far as ONNX Runtime's CUDA provider needs them.
 *
 * The device's memory is the process's own, and as large as $STAND_IN_MB says; there are $STAND_IN_GPUS devices.
 * Copies and float32 matrix products are carried out, also from a captured graph. Kernels do nothing, and neither does
 * any function that is not in this file: build.py adds those, which return success.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101 };

typedef void *Handle;

static __thread int last_error = SUCCESS, current_device = 0;

static int fail(int error) { return last_error = error; }

static long setting(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static int create(Handle *handle) {
    *handle = malloc(1);
    return SUCCESS;
}

/* Devices. */

static int devices(void) { return (int)setting("STAND_IN_GPUS", 1); }

int cudaGetDeviceCount(int *count) { *count = devices(); return SUCCESS; }

int cudaGetDevice(int *device) { *device = current_device; return SUCCESS; }

int cudaSetDevice(int device) {
    if (device < 0 || device >= devices()) return fail(INVALID_DEVICE);
    current_device = device;
    return SUCCESS;
}

static size_t total_memory(void) { return (size_t)setting("STAND_IN_MB", 16000) << 20; }

/* cudaDeviceProp of CUDA 13: only what the provider reads. */
int cudaGetDeviceProperties(char *properties, int device) {
    memset(properties, 0, 800);
    strcpy(properties, "stand-in");
    *(size_t *)(properties + 288) = total_memory();
    *(size_t *)(properties + 296) = 48 << 10; /* sharedMemPerBlock */
    *(int *)(properties + 308) = 32;          /* warpSize */
    *(int *)(properties + 320) = 1024;        /* maxThreadsPerBlock */
    *(int *)(properties + 360) = 9;           /* major */
    *(int *)(properties + 384) = 132;         /* multiProcessorCount */
    return SUCCESS;
}

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : 1024; /* compute capability 9.0 */
    return SUCCESS;
}

int cudaDriverGetVersion(int *version) { *version = 13050; return SUCCESS; }
int cudaRuntimeGetVersion(int *version) { *version = 13050; return SUCCESS; }
size_t cudnnGetVersion(void) { return 92400; }
size_t cudnnGetCudartVersion(void) { return 13050; }

int cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal < devices() ? SUCCESS : INVALID_DEVICE;
}

int cuDeviceGetUuid_v2(char *uuid, int device) { memset(uuid, device + 1, 16); return SUCCESS; }

/* Errors. */

int cudaGetLastError(void) { int error = last_error; last_error = SUCCESS; return error; }
int cudaPeekAtLastError(void) { return last_error; }

const char *cudaGetErrorString(int error) {
    return error == OUT_OF_MEMORY ? "out of memory" : error == INVALID_DEVICE ? "invalid device ordinal" : "no error";
}

const char *cudaGetErrorName(int error) { return error ? "cudaError" : "cudaSuccess"; }
const char *cudnnGetErrorString(int error) { return "CUDNN_STATUS"; }
const char *cublasGetStatusName(int status) { return "CUBLAS_STATUS"; }
const char *cublasGetStatusString(int status) { return "a status of cuBLAS"; }

/* Memory. */

static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t used_memory = 0;

int cudaMalloc(Handle *pointer, size_t size) {
    int error = SUCCESS;
    pthread_mutex_lock(&memory_lock);
    if (used_memory + size > total_memory() || !(*pointer = malloc(size ? size : 1))) error = fail(OUT_OF_MEMORY);
    else used_memory += malloc_usable_size(*pointer);
    pthread_mutex_unlock(&memory_lock);
    return error;
}

int cudaFree(Handle pointer) {
    pthread_mutex_lock(&memory_lock);
    used_memory -= malloc_usable_size(pointer);
    pthread_mutex_unlock(&memory_lock);
    free(pointer);
    return SUCCESS;
}

int cudaMallocFromPoolAsync(Handle *pointer, size_t size, Handle pool, Handle stream) { return cudaMalloc(pointer, size); }
int cudaFreeAsync(Handle pointer, Handle stream) { return cudaFree(pointer); }
int cudaMallocHost(Handle *pointer, size_t size) { *pointer = malloc(size ? size : 1); return SUCCESS; }
int cudaHostAlloc(Handle *pointer, size_t size, unsigned flags) { return cudaMallocHost(pointer, size); }
int cudaFreeHost(Handle pointer) { free(pointer); return SUCCESS; }

int cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *total = total_memory();
    *free_bytes = *total - used_memory;
    return SUCCESS;
}

/* NVML: the memory is that of this process, energy is not supported. */

int nvmlDeviceGetHandleByUUID(const char *uuid, Handle *device) { return create(device); }

int nvmlDeviceGetName(Handle device, char *name, unsigned length) { strncpy(name, "stand-in", length); return SUCCESS; }

int nvmlDeviceGetMemoryInfo(Handle device, unsigned long long *total_free_used) {
    size_t free_bytes, total;
    cudaMemGetInfo(&free_bytes, &total);
    total_free_used[0] = total;
    total_free_used[1] = free_bytes;
    total_free_used[2] = total - free_bytes;
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(Handle device, unsigned long long *millijoules) { return 3; }

/* Work: done at once, or recorded while a graph is captured. */

typedef struct {
    enum { COPY, FILL, PRODUCT } what;
    const void *a, *b;
    void *out;
    size_t bytes;
    int transpose_a, transpose_b, m, n, k, lda, ldb, ldc, fill;
    float alpha, beta;
} Work;

enum { MAX_WORK = 1000 };

typedef struct {
    int count;
    Work work[MAX_WORK];
} Graph;

static __thread Graph *captured = NULL;

/* out (m, n) = alpha * a (m, k) @ b (k, n) + beta * out; columns are contiguous, as in Fortran. */
static void multiply(const Work *work) {
    const float *a = work->a, *b = work->b;
    size_t a_row = work->transpose_a ? work->lda : 1, a_step = work->transpose_a ? 1 : work->lda;
    size_t b_step = work->transpose_b ? work->ldb : 1, b_column = work->transpose_b ? 1 : work->ldb;
    for (int j = 0; j < work->n; j++) {
        for (int i = 0; i < work->m; i++) {
            double sum = 0;
            for (int l = 0; l < work->k; l++) sum += (double)a[i * a_row + l * a_step] * b[l * b_step + j * b_column];
            float *out = (float *)work->out + i + (size_t)j * work->ldc;
            *out = (float)(work->alpha * sum + (work->beta ? work->beta * *out : 0));
        }
    }
}

static void carry_out(const Work *work) {
    if (work->what == COPY) memmove(work->out, work->a, work->bytes);
    else if (work->what == FILL) memset(work->out, work->fill, work->bytes);
    else multiply(work);
}

static int submit(Work work) {
    if (!captured) carry_out(&work);
    else if (captured->count < MAX_WORK) captured->work[captured->count++] = work;
    else return fail(OUT_OF_MEMORY);
    return SUCCESS;
}

int cudaMemcpyAsync(void *out, const void *from, size_t bytes, int kind, Handle stream) {
    return submit((Work){.what = COPY, .a = from, .out = out, .bytes = bytes});
}

int cudaMemcpy(void *out, const void *from, size_t bytes, int kind) { memmove(out, from, bytes); return SUCCESS; }

int cudaMemsetAsync(void *out, int value, size_t bytes, Handle stream) {
    return submit((Work){.what = FILL, .out = out, .fill = value, .bytes = bytes});
}

int cudaMemset(void *out, int value, size_t bytes) { memset(out, value, bytes); return SUCCESS; }

int cublasSgemm_v2(Handle handle, int transpose_a, int transpose_b, int m, int n, int k, const float *alpha,
                   const float *a, int lda, const float *b, int ldb, const float *beta, float *out, int ldc) {
    return submit((Work){.what = PRODUCT, .a = a, .b = b, .out = out, .transpose_a = transpose_a,
                         .transpose_b = transpose_b, .m = m, .n = n, .k = k, .lda = lda, .ldb = ldb, .ldc = ldc,
                         .alpha = *alpha, .beta = *beta});
}

int cudaStreamBeginCapture(Handle stream, int mode) { captured = calloc(1, sizeof(Graph)); return SUCCESS; }
int cudaStreamIsCapturing(Handle stream, int *status) { *status = captured != NULL; return SUCCESS; }

int cudaStreamEndCapture(Handle stream, Handle *graph) {
    *graph = captured;
    captured = NULL;
    return SUCCESS;
}

int cudaGraphInstantiate(Handle *executable, Handle graph, unsigned long long flags) {
    *executable = graph;
    return SUCCESS;
}

int cudaGraphLaunch(Handle executable, Handle stream) {
    const Graph *graph = executable;
    for (int i = 0; i < graph->count; i++) carry_out(&graph->work[i]);
    return SUCCESS;
}

/* What hands something out. */

int cudaStreamCreate(Handle *stream) { return create(stream); }
int cudaStreamCreateWithFlags(Handle *stream, unsigned flags) { return create(stream); }
int cudaEventCreate(Handle *event) { return create(event); }
int cudaEventCreateWithFlags(Handle *event, unsigned flags) { return create(event); }
int cudaMemPoolCreate(Handle *pool, Handle properties) { return create(pool); }
int cudaLibraryLoadData(Handle *library) { return create(library); }
int cudaLibraryGetKernel(Handle *kernel) { return create(kernel); }
int __cudaGetKernel(Handle *kernel, Handle function) { *kernel = function; return SUCCESS; }
int cublasCreate_v2(Handle *handle) { return create(handle); }
int cublasLtCreate(Handle *handle) { return create(handle); }
int cudnnCreate(Handle *handle) { return create(handle); }

Handle *__cudaRegisterFatBinary(Handle binary) {
    static Handle handle;
    return &handle;
}

int __cudaPopCallConfiguration(int *grid, int *block, size_t *shared, Handle *stream) {
    for (int i = 0; i < 3; i++) grid[i] = block[i] = 1;
    *shared = 0;
    *stream = NULL;
    return SUCCESS;
}

int cudaPointerGetAttributes(int *attributes, const void *pointer) {
    attributes[0] = 2; /* on the device */
    attributes[1] = current_device;
    return SUCCESS;
}

int cudaFuncGetAttributes(void *attributes, Handle function) { memset(attributes, 0, 64); return SUCCESS; }
int cudaMemPoolGetAttribute(Handle pool, int attribute, size_t *value) { *value = 0; return SUCCESS; }
int cudaEventElapsedTime(float *milliseconds, Handle start, Handle end) { *milliseconds = 1; return SUCCESS; }
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks) { *blocks = 1; return SUCCESS; }

static int do_nothing(void) { return SUCCESS; }

int cudaGetDriverEntryPointByVersion(const char *name, Handle *function, unsigned version, unsigned long long flags,
                                     int *status) {
    *function = (Handle)do_nothing;
    if (status) *status = SUCCESS;
    return SUCCESS;
}
