"""Detectors that see a face in every white cell of 8 x 8 pixels, 48 px wide and 64 px high about its middle, with the points of ArcFace's
template in it: detector.onnx of YuNet's form and detector-scrfd.onnx of SCRFD's, beside this file.

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


class Network:
    def __init__(self):
        self.nodes, self.constants, self.outputs = [], [], []

    def constant(self, name, values, kind=np.float32):
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=kind), name))
        return name

    def output(self, name, stride, weight, bias, shape):
        """Of the means of cells of `stride` pixels, `weight` times green and `bias`, as rows of this shape."""
        kernel = np.zeros((len(bias), 3, 1, 1), np.float32)
        kernel[:, 1] = weight
        ends = [self.constant(f"{name}_kernel", kernel), self.constant(f"{name}_bias", bias)]
        add = lambda *node, **attributes: self.nodes.append(helper.make_node(*node, **attributes))
        add("AveragePool", ["input"], [f"{name}_cells"], kernel_shape=[stride] * 2, strides=[stride] * 2)
        add("Conv", [f"{name}_cells", *ends], [f"{name}_map"])
        add("Transpose", [f"{name}_map"], [f"{name}_turned"], perm=[0, 2, 3, 1])
        add("Reshape", [f"{name}_turned", self.constant(f"{name}_shape", shape, np.int64)], [name])
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * len(shape)))

    def write(self, name, sides):
        picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *sides])
        graph = helper.make_graph(self.nodes, "detector", [picture], self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="detector.py", ir_version=8)
        onnx.checker.check_model(model)
        Path(__file__).with_name(name).write_bytes(model.SerializeToString())


yunet, scrfd = Network(), Network()
for stride in (8, 16, 32):
    seen = 1.0 if stride == 8 else 0.0
    yunet.output(f"cls_{stride}", stride, seen / 255, [0.0], [1, -1, 1])
    yunet.output(f"obj_{stride}", stride, seen / 255, [0.0], [1, -1, 1])
    yunet.output(f"bbox_{stride}", stride, 0.0, [0.5, 0.5, np.log(6), np.log(8)], [1, -1, 4])
    yunet.output(f"kps_{stride}", stride, 0.0, points.reshape(-1), [1, -1, 10])
    # Two anchors a place, of which the second sees nothing; white is (255 - 127.5) / 128, black less than zero.
    weights = np.array([seen * 128 / 255, 0.0]).reshape(2, 1, 1)
    scrfd.output(f"score {stride}", stride, weights, [seen / 2, 0.0], [-1, 1])
    scrfd.output(f"box {stride}", stride, 0.0, [2.5, 3.5, 3.5, 4.5] * 2, [-1, 4])
    scrfd.output(f"points {stride}", stride, 0.0, np.tile(points.reshape(-1), 2), [-1, 10])
yunet.write("detector.onnx", [640, 640])
scrfd.write("detector-scrfd.onnx", ["height", "width"])
