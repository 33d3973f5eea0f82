/* What README's C lines use of TensorFlow Lite's C library (tensorflow/lite/c/c_api.h and c_api_experimental.h), so
 * that a compiler checks their names, arguments and types where the library is not there. */
#include <stddef.h>
#include <stdint.h>

typedef struct TfLiteModel TfLiteModel;
typedef struct TfLiteInterpreterOptions TfLiteInterpreterOptions;
typedef struct TfLiteInterpreter TfLiteInterpreter;
typedef struct TfLiteSignatureRunner TfLiteSignatureRunner;
typedef struct TfLiteTensor TfLiteTensor;
typedef enum { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;

TfLiteModel *TfLiteModelCreateFromFile(const char *);
void TfLiteModelDelete(TfLiteModel *);
TfLiteInterpreter *TfLiteInterpreterCreate(const TfLiteModel *, const TfLiteInterpreterOptions *);
void TfLiteInterpreterDelete(TfLiteInterpreter *);
TfLiteSignatureRunner *TfLiteInterpreterGetSignatureRunner(const TfLiteInterpreter *, const char *);
TfLiteStatus TfLiteSignatureRunnerAllocateTensors(TfLiteSignatureRunner *);
TfLiteTensor *TfLiteSignatureRunnerGetInputTensor(TfLiteSignatureRunner *, const char *);
TfLiteStatus TfLiteSignatureRunnerInvoke(TfLiteSignatureRunner *);
const TfLiteTensor *TfLiteSignatureRunnerGetOutputTensor(const TfLiteSignatureRunner *, const char *);
void TfLiteSignatureRunnerDelete(TfLiteSignatureRunner *);
TfLiteStatus TfLiteTensorCopyFromBuffer(TfLiteTensor *, const void *, size_t);
TfLiteStatus TfLiteTensorCopyToBuffer(const TfLiteTensor *, void *, size_t);
