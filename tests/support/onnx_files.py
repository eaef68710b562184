"""ONNX files made by hand, from nodes in ONNX's own text form."""

import numpy as np

TYPES = {"float16": "float16", "float32": "float", "float64": "double", "bfloat16": "bfloat16"}


def onnx_model(nodes, x="[N, 3, 8, 8]", weights=None, *, opset=17, dtype="float32", output="y"):
    """Return a ModelProto whose input is x, whose output is y, and whose initializers are `weights`.

    `nodes` is a text such as "y = Relu(x)", one line per node.
    """
    import onnx
    import onnx.parser

    kind = TYPES[dtype]
    text = f'<ir_version: 8, opset_import: ["": {opset}]> graph ({kind}{x} x) => ({kind} {output}) {{ {nodes} }}'
    model = onnx.parser.parse_model(text)
    for name, array in (weights or {}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return model


def onnx_file(path, *args, **options):
    """Write what :func:`onnx_model` returns, and return the path."""
    path.write_bytes(onnx_model(*args, **options).SerializeToString())
    return path
