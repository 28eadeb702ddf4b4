/* A TFLite external delegate that enlarges int8 maps, and can be told to misbehave.
 *
 * Options: mode = ok | create | prepare | invoke | hang | crash | wrong | none, and after = how many
 * operators it computes rightly before the last four begin. `none` takes no operator.
 *
 * The runtimes ship no C headers. What is declared here is the binary interface of
 * tensorflow/lite/core/c/common.h, as far as it is used; it is the same in both runtimes.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, ERROR = 1, RESIZE_NEAREST_NEIGHBOR = 97 };

typedef struct { int size; int data[]; } Ints;

typedef struct Delegate Delegate;
typedef struct Context Context;

typedef struct {
  int type;
  int8_t* data;
  Ints* dims;
  struct { float scale; int32_t zero_point; } params;
  int allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  Delegate* delegate;
  int buffer_handle;
  bool data_is_stale, is_variable;
  struct { int type; void* params; } quantization;
  void* sparsity;
  const Ints* dims_signature;
} Tensor;

typedef struct {
  Ints *inputs, *outputs, *intermediates, *temporaries;
  void *user_data, *builtin_data;
} Node;

typedef struct {
  void* (*init)(Context*, const char*, size_t);
  void (*free)(Context*, void*);
  int (*prepare)(Context*, Node*);
  int (*invoke)(Context*, Node*);
  const char* (*profiling_string)(const Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* registration_external;
  void* async_kernel;
  uint64_t inplace_operator;
} Registration;

struct Context {
  size_t tensors_size;
  int (*GetExecutionPlan)(Context*, Ints**);
  Tensor* tensors;
  void* impl;
  int (*ResizeTensor)(Context*, Tensor*, Ints*);
  void (*ReportError)(Context*, const char*, ...);
  int (*AddTensors)(Context*, int, int*);
  int (*GetNodeAndRegistration)(Context*, int, Node**, Registration**);
  int (*ReplaceNodeSubsetsWithDelegateKernels)(Context*, Registration, const Ints*, Delegate*);
};

struct Delegate {
  void* data;
  int (*Prepare)(Context*, Delegate*);
  int (*CopyFromBufferHandle)(void);
  int (*CopyToBufferHandle)(void);
  void (*FreeBufferHandle)(void);
  int64_t flags;
  void* opaque_delegate_builder;
};

typedef struct { Delegate* delegate; Ints *nodes, *inputs, *outputs; } Params;

typedef struct { char mode[16]; long left; } Toy;

static void* init(Context* context, const char* buffer, size_t length) {
  (void)context, (void)length;
  return ((const Params*)buffer)->delegate->data;
}

static void nothing(Context* context, void* data) { (void)context, (void)data; }

static bool is(const Toy* toy, const char* mode) { return strcmp(toy->mode, mode) == 0; }

static int prepare(Context* context, Node* node) {
  (void)context;
  return is(node->user_data, "prepare") ? ERROR : OK;
}

static int invoke(Context* context, Node* node) {
  Toy* toy = node->user_data;
  const bool now = toy->left-- <= 0;
  if (now && is(toy, "invoke")) return ERROR;
  if (now && is(toy, "crash")) *(volatile int*)0 = 0;
  while (now && is(toy, "hang")) sleep(1);
  const Tensor* in = NULL;
  for (int i = 0; i < node->inputs->size && in == NULL; i++) {
    const Tensor* tensor = &context->tensors[node->inputs->data[i]];
    if (tensor->dims->size == 4) in = tensor;
  }
  Tensor* out = &context->tensors[node->outputs->data[0]];
  if (in == NULL || in->dims->data[0] != 1) return ERROR;
  const int rows = in->dims->data[1], columns = in->dims->data[2], depth = in->dims->data[3];
  const int height = out->dims->data[1], width = out->dims->data[2];
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      memcpy(out->data + ((size_t)y * width + x) * depth,
             in->data + ((size_t)(y * rows / height) * columns + x * columns / width) * depth,
             (size_t)depth);
  if (now && is(toy, "wrong"))
    for (size_t i = 0; i < out->bytes; i++) out->data[i] = (int8_t)~out->data[i];
  return OK;
}

static int take(Context* context, Delegate* delegate) {
  Ints* plan;
  if (context->GetExecutionPlan(context, &plan) != OK) return ERROR;
  Ints* mine = malloc(sizeof(Ints) + sizeof(int) * (size_t)plan->size);
  mine->size = 0;
  for (int i = 0; i < plan->size && !is(delegate->data, "none"); i++) {
    Node* node;
    Registration* registration;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration) != OK)
      return ERROR;
    if (registration->builtin_code == RESIZE_NEAREST_NEIGHBOR)
      mine->data[mine->size++] = plan->data[i];
  }
  const Registration kernel = {.init = init, .free = nothing, .prepare = prepare,
                               .invoke = invoke, .custom_name = "Toy", .version = 1};
  const int status =
      context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, mine, delegate);
  free(mine);
  return status;
}

Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count,
                                        void (*report_error)(const char*)) {
  Toy* toy = calloc(1, sizeof(Toy));
  for (size_t i = 0; i < count; i++) {
    if (strcmp(keys[i], "mode") == 0) strncpy(toy->mode, values[i], sizeof(toy->mode) - 1);
    if (strcmp(keys[i], "after") == 0) toy->left = strtol(values[i], NULL, 10);
  }
  if (is(toy, "create")) {
    report_error("the toy does not answer");
    free(toy);
    return NULL;
  }
  Delegate* delegate = calloc(1, sizeof(Delegate));
  delegate->data = toy;
  delegate->Prepare = take;
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate* delegate) {
  if (delegate != NULL) free(delegate->data);
  free(delegate);
}
