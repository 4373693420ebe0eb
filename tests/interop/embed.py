"""Embeddings of images by onnxruntime.

usage: embed.py NETWORK PIXELS SIDE; PIXELS holds bytes, [N, SIDE, SIDE, 3] RGB. Prints the embeddings, of length 1, as JSON, a list each.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

network, path, side = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
images = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, side, side, 3)
session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
inputs = ((images.astype(np.float32) - 127.5) / 128).transpose(0, 3, 1, 2)
found = np.concatenate([session.run(None, {name: one[None]})[0] for one in inputs])
print(json.dumps((found / np.linalg.norm(found, axis=1, keepdims=True)).tolist()))
