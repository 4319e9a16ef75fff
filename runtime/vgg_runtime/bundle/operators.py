"""The operators that a model file may contain: what networks that classify images are exported to.

A model file is a program for the engine, which nothing in the process can stop. So these are the operators that
compute tensors from tensors: none runs a subgraph, and so none can loop for ever; none reads files, draws random
numbers or matches text. Their outputs are not bounded: any addition can broadcast two short vectors to terabytes.
"""

from __future__ import annotations

from typing import Final

from vgg_runtime.bundle.onnx_file import OnnxContents

__all__ = ["OPERATORS", "refused_operators"]

# By kind, in the domain of ONNX itself unless one stands in front.
OPERATORS: Final[dict[str, str]] = {
    "layers": "Conv ConvTranspose DeformConv Gemm MatMul Einsum Attention RotaryEmbedding RNN GRU LSTM",
    "pooling": """
        AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool
    """,
    "normalization": """
        BatchNormalization Dropout GroupNormalization InstanceNormalization LayerNormalization LpNormalization LRN
        MeanVarianceNormalization RMSNormalization
    """,
    "activations": """
        Celu Clip Elu Gelu HardSigmoid HardSwish Hardmax LeakyRelu LogSoftmax Mish PRelu Relu Selu Shrink Sigmoid
        Softmax Softplus Softsign Swish Tanh ThresholdedRelu
    """,
    "arithmetic": """
        Abs Acos Acosh Add Asin Asinh Atan Atanh Ceil Cos Cosh CumSum Det Div Erf Exp Floor Log Max Mean Min Mod Mul
        Neg Pow Reciprocal Round Sign Sin Sinh Sqrt Sub Sum Tan
    """,
    "comparisons, logic and bits": """
        And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Equal Greater GreaterOrEqual IsInf IsNaN Less
        LessOrEqual Not Or Where Xor
    """,
    "reductions": """
        ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
        ReduceSumSquare TopK
    """,
    "quantization": """
        Cast CastLike ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul
        QuantizeLinear com.microsoft::MatMulNBits
    """,
    "shape and order": """
        Concat DepthToSpace Flatten Identity Reshape ReverseSequence Shape Size Slice SpaceToDepth Split Squeeze
        Transpose Trilu Unsqueeze
    """,
    "selection": """
        Compress Gather GatherElements GatherND GridSample NonZero ScatterElements ScatterND Unique
    """,
    "sequences of tensors": """
        ConcatFromSequence SequenceAt SequenceConstruct SequenceLength SplitToSequence
    """,
    # Their output is as large as numbers in the file say. Exports have them: class tokens are expanded to the batch,
    # masks of windows are padded, positions are counted and resized.
    "sizes in numbers": """
        AffineGrid CenterCropPad Col2Im Constant ConstantOfShape DFT Expand EyeLike OneHot Pad Range Resize Tile
    """,
}

_ALLOWED = frozenset(" ".join(OPERATORS.values()).split())


def refused_operators(contents: OnnxContents) -> list[str]:
    """Return the operators of a file that are not in the table, and those that it defines itself, whatever their names.

    Functions of its own are refused because they may call one another: a few lines expand to any number of nodes.
    """
    own = [f"{name} (a function of its own)" for name in sorted(contents.functions)]
    return [*sorted(contents.operators - contents.functions - _ALLOWED), *own]
