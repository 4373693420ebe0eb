"""A detector of YuNet's form that sees a face in every white cell of 8 x 8 pixels, 48 px wide and 64 px high about its middle, with the
points of ArcFace's template in it. Writes detector.onnx beside this file.

    pip install onnx==1.23.2 && python tests/goldens/detector.py
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
# Points of a frame of 48 px about the middle of a cell, in cells from the cell's corner.
points = ((TEMPLATE + 0.5) / 112 * 48 - 24 + 4) / 8

assert onnx.__version__ == "1.23.2", onnx.__version__
nodes, constants, outputs = [], [], []


def constant(name, values, kind=np.float32):
    constants.append(numpy_helper.from_array(np.array(values, dtype=kind), name))
    return name


def output(name, stride, weight, bias):
    """Of the means of cells of `stride` pixels, `weight` times green and `bias`, as rows of places."""
    width = len(bias)
    kernel = np.zeros((width, 3, 1, 1), np.float32)
    kernel[:, 1] = weight / 255
    ends = [constant(f"{name}_kernel", kernel), constant(f"{name}_bias", bias)]
    nodes.append(helper.make_node("AveragePool", ["input"], [f"{name}_cells"], kernel_shape=[stride] * 2, strides=[stride] * 2))
    nodes.append(helper.make_node("Conv", [f"{name}_cells", *ends], [f"{name}_map"]))
    nodes.append(helper.make_node("Transpose", [f"{name}_map"], [f"{name}_turned"], perm=[0, 2, 3, 1]))
    shape = constant(f"{name}_shape", [1, -1, width], np.int64)
    nodes.append(helper.make_node("Reshape", [f"{name}_turned", shape], [name]))
    outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, (640 // stride) ** 2, width]))


for stride in (8, 16, 32):
    seen = 1.0 if stride == 8 else 0.0
    output(f"cls_{stride}", stride, seen, [0.0])
    output(f"obj_{stride}", stride, seen, [0.0])
    output(f"bbox_{stride}", stride, 0.0, [0.5, 0.5, np.log(6), np.log(8)])
    output(f"kps_{stride}", stride, 0.0, points.reshape(-1))

picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
graph = helper.make_graph(nodes, "detector", [picture], outputs, constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="detector.py")
model.ir_version = 8
onnx.checker.check_model(model)
Path(__file__).with_name("detector.onnx").write_bytes(model.SerializeToString())
