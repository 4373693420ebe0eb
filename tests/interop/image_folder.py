"""Reads a written image folder with Hugging Face `datasets` and its metadata file.

usage: image_folder.py FOLDER IMAGES
"""

import sys

import datasets

folder, images = sys.argv[1], int(sys.argv[2])
datasets.disable_progress_bars()
ds = datasets.load_dataset("imagefolder", data_dir=folder, split="train", cache_dir=f"{folder}/../../hf-cache")
assert len(ds) == images, (len(ds), images)
assert isinstance(ds.features["image"], datasets.Image), ds.features
row = ds[0]
assert row["image"].mode == "RGB" and row["identity"] and len(row["sample_id"]) == 24, row
print(f"datasets {datasets.__version__}: {len(ds)} images")
