/* A client without Python: runs one signature of an exported SavedModel on uint8 RGB images.
 *
 *   saved_model_client FOLDER SIGNATURE INPUT OUTPUT COUNT HEIGHT WIDTH < pixels
 *
 * prints one line an image: the numbers, or the strings, of OUTPUT. Names of graph operations are looked up in the
 * signature, which the library hands over as a serialised MetaGraphDef (tensorflow/core/protobuf/meta_graph.proto).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

enum { SIGNATURES = 5, INPUTS = 1, OUTPUTS = 2, KEY = 1, VALUE = 2, TENSOR_NAME = 1 }; /* field numbers */

typedef struct {
  const unsigned char *at, *end;
} Span;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(const char *what, const TF_Status *status) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

static uint64_t varint(Span *message) {
  uint64_t value = 0;
  for (int shift = 0; message->at < message->end; shift += 7) {
    unsigned char byte = *message->at++;
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return value;
  }
  return value;
}

/* Move to the next field; its content when it has a length, else an empty span. */
static int next(Span *message, Span *content) {
  if (message->at >= message->end) return 0;
  uint64_t tag = varint(message);
  content->at = content->end = message->at;
  switch (tag & 7) {
    case 0: varint(message); break;
    case 1: message->at += 8; break;
    case 5: message->at += 4; break;
    case 2: {
      uint64_t length = varint(message);
      content->at = message->at;
      message->at += length;
      content->end = message->at;
      break;
    }
    default: fail("signature", "not a protocol buffer");
  }
  return (int)(tag >> 3);
}

static Span field(Span message, int wanted) {
  Span content = {NULL, NULL};
  for (int number; (number = next(&message, &content)) != 0;)
    if (number == wanted) return content;
  return (Span){NULL, NULL};
}

static Span entry(Span message, int map, const char *key) {
  Span item = {NULL, NULL};
  for (int number; (number = next(&message, &item)) != 0;) {
    Span name = field(item, KEY);
    if (number == map && name.at && (size_t)(name.end - name.at) == strlen(key) && !memcmp(name.at, key, strlen(key)))
      return field(item, VALUE);
  }
  fail(key, "the SavedModel has no such signature, input or output");
  return item;
}

static TF_Output tensor(TF_Graph *graph, Span info) {
  Span name = field(info, TENSOR_NAME);
  char text[512] = "";
  snprintf(text, sizeof text, "%.*s", (int)(name.end - name.at), (const char *)name.at);
  char *colon = strrchr(text, ':');
  if (!colon) fail(text, "not the name of a tensor");
  *colon = 0;
  TF_Output found = {TF_GraphOperationByName(graph, text), atoi(colon + 1)};
  if (!found.oper) fail(text, "no such operation");
  return found;
}

static void print_rows(const TF_Tensor *result) {
  int64_t rows = TF_Dim(result, 0), all = TF_TensorElementCount(result);
  for (int64_t i = 0; i < all; i++) {
    const char *after = (i + 1) % (all / rows) ? "\t" : "\n";
    if (TF_TensorType(result) == TF_STRING) {
      const TF_TString *text = (const TF_TString *)TF_TensorData(result) + i;
      printf("%.*s%s", (int)TF_StringGetSize(text), TF_StringGetDataPointer(text), after);
    } else {
      printf("%.9g%s", ((const float *)TF_TensorData(result))[i], after);
    }
  }
}

int main(int count, char **words) {
  if (count != 8) fail("usage", "saved_model_client FOLDER SIGNATURE INPUT OUTPUT COUNT HEIGHT WIDTH < pixels");
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_Buffer *meta = TF_NewBuffer();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, words[1], tags, 1, graph, meta, status);
  check("load", status);

  Span all = {meta->data, (const unsigned char *)meta->data + meta->length};
  Span signature = entry(all, SIGNATURES, words[2]);
  TF_Output input = tensor(graph, entry(signature, INPUTS, words[3]));
  TF_Output output = tensor(graph, entry(signature, OUTPUTS, words[4]));

  int64_t shape[] = {atoll(words[5]), atoll(words[6]), atoll(words[7]), 3};
  size_t bytes = (size_t)(shape[0] * shape[1] * shape[2] * shape[3]);
  TF_Tensor *images = TF_AllocateTensor(TF_UINT8, shape, 4, bytes);
  if (fread(TF_TensorData(images), 1, bytes, stdin) != bytes) fail("pixels", "fewer than the shape needs");

  TF_Tensor *result = NULL;
  TF_SessionRun(session, NULL, &input, &images, 1, &output, &result, 1, NULL, 0, NULL, status);
  check("run", status);
  print_rows(result);

  TF_DeleteTensor(result);
  TF_DeleteTensor(images);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteBuffer(meta);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
