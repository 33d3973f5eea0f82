"""Which operations of a graph do harm, and which stateful ones do none: lists, and nothing that depends on a model.

An operation without state of its own that TensorFlow registers is taken as harmless unless it is denied here. A test
goes through all registered operations and fails for one that takes a file name, a path or an address and is not judged
here.
"""

from __future__ import annotations

_READS = """
    ReadFile WholeFileReader WholeFileReaderV2 FixedLengthRecordReader FixedLengthRecordReaderV2 TextLineReader
    TextLineReaderV2 TFRecordReader TFRecordReaderV2 LMDBReader IdentityReader IdentityReaderV2 MatchingFiles
    TextLineDataset TFRecordDataset TFRecordDatasetV2 FixedLengthRecordDataset FixedLengthRecordDatasetV2 LMDBDataset
    ExperimentalLMDBDataset CSVDataset CSVDatasetV2 ExperimentalCSVDataset SqlDataset ExperimentalSqlDataset
    LoadDataset MatchingFilesDataset ExperimentalMatchingFilesDataset ImmutableConst LoadAndRemapMatrix
    GenerateVocabRemapping ListSnapshotChunksDataset SnapshotChunkDataset SnapshotDatasetReader
    SnapshotNestedDatasetReader RecordInput Skipgram DTensorRestoreV2
"""
_WRITES = """
    WriteFile CacheDataset CacheDatasetV2 SnapshotDataset SnapshotDatasetV2 SaveDataset SaveDatasetV2
    DistributedSave DatasetToTFRecord ExperimentalDatasetToTFRecord SummaryWriter CreateSummaryFileWriter
    CreateSummaryDbWriter WriteSummary WriteGraphSummary WriteRawProtoSummary WriteAudioSummary WriteImageSummary
    WriteScalarSummary WriteHistogramSummary FlushSummaryWriter ImportEvent DebugIdentity DebugIdentityV2
    DebugIdentityV3 DebugNanCount DebugNumericSummary DebugNumericSummaryV2 DumpTensor StatsAggregatorSetSummaryWriter
    CalibrationStatisticsSaver DeleteOldCheckpoints
"""
_PYTHON = "PyFunc PyFuncStateless EagerPyFunc"
_NETWORK = """
    DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3 DataServiceDatasetV4 RegisterDataset RegisterDatasetV2
    RpcCall RpcClient RpcServer RpcServerStart RpcServerRegister RpcGetValue TryRpc Rpc BigQueryReader BigtableClient
    RemoteCall RemoteFusedGraphExecute Send Recv _Send _Recv _HostSend _HostRecv CollectiveInitializeCommunicator
    CollectiveReduce CollectiveReduceV2 CollectiveReduceV3 CollectiveGather CollectiveGatherV2 CollectiveBcastSend
    CollectiveBcastRecv CollectiveBcastSendV2 CollectiveBcastRecvV2 CollectiveAllToAllV2 CollectiveAllToAllV3
    CollectivePermute CollectiveReduceScatterV2 CollectiveAssignGroupV2 ConfigureDistributedTPU
    ConfigureAndInitializeGlobalTPU NcclAllReduce NcclBroadcast NcclReduce
"""
_HIDDEN = """
    DatasetFromGraph DeserializeIterator FileSystemSetConfiguration TPUCompile _TPUCompileMlir XlaCustomCall
    XlaCustomCallV2 CustomCall TfLiteSubgraphExecute MlirPassthroughOp
"""

DENIED: dict[str, str] = {
    op: reason
    for ops, reason in (
        (_READS, "reads files"),
        (_WRITES, "writes files"),
        (_PYTHON, "runs Python code"),
        (_NETWORK, "talks to other processes or machines"),
        (_HIDDEN, "runs a program that cannot be scanned, or reconfigures TensorFlow"),
    )
    for op in ops.split()
}

# What a checkpoint is written and read with: fine inside the saver that every SavedModel has, and nowhere else.
CHECKPOINT_WRITERS = frozenset({"SaveV2", "MergeV2Checkpoints", "Save", "SaveSlices"})
CHECKPOINT_READERS = frozenset({"RestoreV2", "Restore", "RestoreSlice"})

# Position of the file name among the inputs: fine where it is one of the module's own assets.
VOCABULARIES = {"InitializeTableFromTextFile": 1, "InitializeTableFromTextFileV2": 1}

PRINT_STREAMS = ("stdout", "stderr", "log(info)", "log(warning)", "log(error)")

_STATEFUL = """
    VarHandleOp VarIsInitializedOp ReadVariableOp _ReadVariablesOp AssignVariableOp AssignAddVariableOp
    AssignSubVariableOp VariableShape DestroyResourceOp DisableCopyOnRead Variable VariableV2 TemporaryVariable
    ResourceGather ResourceGatherNd ResourceCountUpTo ResourceStridedSliceAssign
    StatefulPartitionedCall If While Case Assert Print CheckNumerics CheckNumericsV2 GuaranteeConst DeviceIndex
    HashTable HashTableV2 MutableHashTable MutableHashTableV2 MutableHashTableOfTensors MutableHashTableOfTensorsV2
    MutableDenseHashTable MutableDenseHashTableV2 AnonymousHashTable AnonymousMutableHashTable
    AnonymousMutableHashTableOfTensors AnonymousMutableDenseHashTable InitializeTableV2 InitializeTableFromDataset
    Multinomial NonDeterministicInts ParameterizedTruncatedNormal TruncatedNormal SampleDistortedBoundingBox
    SampleDistortedBoundingBoxV2 Stack StackV2 StackPushV2 StackPopV2 StackCloseV2 Empty Timestamp
    RngReadAndSkip RngSkip StatelessRandomGetAlg CudnnRNN CudnnRNNV2 CudnnRNNV3 CudnnRNNBackprop CudnnRNNBackpropV2
    CudnnRNNBackpropV3 RangeDataset TensorDataset TensorSliceDataset SparseTensorSliceDataset ShuffleDatasetV2
    ShuffleDatasetV3 ReduceDataset DatasetToSingleElement IteratorV2 Iterator OneShotIterator MakeIterator
    IteratorGetNext IteratorGetNextSync IteratorGetNextAsOptional AnonymousIterator AnonymousIteratorV2
    AnonymousIteratorV3 DeleteIterator _Arg _Retval
"""
_STATEFUL_FAMILIES = (
    "LookupTable", "Random", "StatefulStandardNormal", "StatefulUniform", "StatefulTruncatedNormal",
    "StatefulRandomBinomial", "TensorArray", "ResourceScatter", "ResourceApply", "ResourceSparseApply",
)  # fmt: skip
HARMLESS_STATEFUL = frozenset(_STATEFUL.split())

_TEXT = """
    CaseFoldUTF8 NormalizeUTF8 NormalizeUTF8WithOffsetsMap FindSourceOffsets WhitespaceTokenizeWithOffsets
    UnicodeScriptTokenizeWithOffsets WordpieceTokenizeWithOffsets SplitMergeTokenizeWithOffsets RegexSplitWithOffsets
    SentenceFragments SentenceFragmentsV2 ConstrainedSequence MaxSpanningTree RougeL SentencepieceOp
    SentencepieceTokenizeOp SentencepieceTokenizeWithOffsetsOp SentencepieceDetokenizeOp SentencepieceVocabSizeOp
    SentencepieceIdToStringOp SentencepieceStringToIdOp
"""


def is_harmless_stateful(op: str) -> bool:
    """Whether a stateful operation keeps its state inside the program."""
    return op in HARMLESS_STATEFUL or op.startswith(_STATEFUL_FAMILIES)


def is_text_op(op: str) -> bool:
    """Whether an operation is one of tensorflow_text's: tokenizers, which read nothing but their arguments."""
    return op.startswith("TFText>") or op in _TEXT.split()
