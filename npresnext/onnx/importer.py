"""From an ONNX file to a network of this package's layers."""

from __future__ import annotations

import os
from pathlib import Path

from .._support.extras import load_extra
from ..errors import FileFormatError, InvalidValueError, NpresnextError
from ._graph_module import GraphModule
from ._operators import OPERATORS, assemble
from ._reading import read_graph


def load(path: str | os.PathLike[str]) -> GraphModule:
    """Read a network from an ONNX file of opset 7 to 22, for inference and for training.

    The graph may consist of Add, AveragePool, BatchNormalization, Concat, Constant, Conv, Dropout, Flatten, Gemm,
    GlobalAveragePool, Identity, MatMul, MaxPool, Pad, Relu, Reshape to a matrix, and Softmax. It has one input,
    (N, C, H, W) or (N, features), and one output. Nothing in the file is executed.

    Parameters
    ----------
    path : path
        The file. Weights outside it ("external data") are read from files inside its folder only.

    Returns
    -------
    GraphModule
        In evaluation mode. It takes any N, and the C, H and W that the file states. Dropout passes its input on in
        training mode too.

    Raises
    ------
    ValueError
        The graph has operators that are not listed above (one message lists them all), or attributes that the layers do
        not offer; or the file is damaged or contradicts itself (FileFormatError).
    ImportError
        The extra ``onnx`` is missing.
    OSError
        The file cannot be opened.

    Notes
    -----
    Arrays keep the names of their initializers where these end alike, as PyTorch's do: "layer1.0.conv1.weight" and
    "layer1.0.conv1.bias" become the weight and bias of a layer "layer1.0.conv1". Other layers are called after their
    node, with "_" for what is neither a letter nor a digit; ``initializer_names`` says which initializer each array
    comes from. The weight of a linear layer is (features out, features in), whatever the file has; factors of a Gemm
    are multiplied into it. Each node has arrays of its own, also where two nodes share an initializer.

    Examples
    --------
    >>> import npresnext as nx
    >>> model = nx.models.resnext_small(rng=0).eval()
    >>> nx.onnx.export(model, "net.onnx", (1, 1, 8, 8))                                # doctest: +SKIP
    >>> net = nx.onnx.load("net.onnx")                                                 # doctest: +SKIP
    >>> net.layer1[0].conv2                                                            # doctest: +SKIP
    Conv2d(32, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=8, bias=False)
    """
    onnx = load_extra("onnx", "onnx", "onnx.load")
    from google.protobuf.message import DecodeError  # what onnx itself reads files with

    path = Path(os.fspath(path))
    try:
        return assemble(read_graph(onnx, path, OPERATORS))
    except (ValueError, RecursionError, OverflowError, DecodeError) as error:  # whatever a hostile file leads to
        refused = isinstance(error, NpresnextError) and not isinstance(error, FileFormatError)
        kind = InvalidValueError if refused else FileFormatError
        raise kind(f"{path}: {error}") from error
