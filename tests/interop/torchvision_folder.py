"""Reads a written image folder with torchvision's ImageFolder.

usage: torchvision_folder.py FOLDER IMAGES
"""

import collections
import json
import sys
from pathlib import Path

import torchvision
from torchvision.datasets import ImageFolder

root, images = Path(sys.argv[1]), int(sys.argv[2])
labels = json.loads((root / "class_to_idx.json").read_text())
found = ImageFolder(root, loader=lambda path: Path(path).read_bytes())
assert found.class_to_idx == labels, (found.class_to_idx, labels)
wanted = collections.Counter((label, image.read_bytes()) for name, label in labels.items() for image in (root / name).iterdir())
assert collections.Counter((label, image) for image, label in found) == wanted
assert len(found) == images, (len(found), images)
image, _ = ImageFolder(root)[0]
assert image.mode == "RGB" and image.width == image.height, image
print(f"torchvision {torchvision.__version__}: {len(found)} images of {len(labels)} classes")
