"""A small network in ONNX, and what onnxruntime makes of one image: `python face.py` writes face.onnx and face.json beside itself.

Needs onnx and onnxruntime. The image is 8x8 and lies at (2, 5) of an input that is 12 wide and 16 high; its edges are repeated.
"""

import json
import math
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
WIDTH, HEIGHT, X, Y, SIDE = 12, 16, 2, 5, 8


def weights(name, *shape):
    n = math.prod(shape)
    values = np.array([0.3 * math.sin(1 + len(name) + 0.7 * i) for i in range(n)], np.float32)
    return numpy_helper.from_array(values.reshape(shape), name)


graph = helper.make_graph(
    [
        helper.make_node("Conv", ["input", "conv", "bias"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("PRelu", ["a", "slope"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "matrix"], ["embedding"]),
    ],
    "face",
    [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, HEIGHT, WIDTH])],
    [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 6])],
    [
        weights("conv", 4, 3, 3, 3),
        weights("bias", 4),
        weights("slope", 4, 1, 1),
        weights("matrix", 4 * HEIGHT * WIDTH // 4, 6),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, HERE / "face.onnx")

pixels = np.array([(i * 37 + i * i) % 256 for i in range(SIDE * SIDE * 3)], np.uint8)
image = pixels.reshape(SIDE, SIDE, 3)
frame = np.pad(image, ((Y, HEIGHT - SIDE - Y), (X, WIDTH - SIDE - X), (0, 0)), mode="edge")
x = ((frame.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]
session = onnxruntime.InferenceSession(HERE / "face.onnx", providers=["CPUExecutionProvider"])
embedding = session.run(None, {"input": x})[0][0]
embedding /= np.linalg.norm(embedding)
(HERE / "face.json").write_text(json.dumps({"pixels": pixels.tolist(), "embedding": embedding.tolist()}) + "\n")
