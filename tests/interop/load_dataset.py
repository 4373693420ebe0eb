"""Reads a written dataset as a recognition team would: Hugging Face `datasets`, with its declared features.

usage: load_dataset.py DATASET IDENTITIES IMAGES; exits non-zero with a message if anything differs.
"""

import glob
import sys

import datasets

root, identities, images = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
datasets.disable_progress_bars()
shards = sorted(glob.glob(f"{root}/data/*.parquet"))
ds = datasets.load_dataset("parquet", data_files={"train": shards}, split="train", cache_dir=f"{root}/../hf-cache")
assert len(ds) == images, (len(ds), images)
assert isinstance(ds.features["image"], datasets.Image), ds.features
label = ds.features["label"]
assert isinstance(label, datasets.ClassLabel) and label.num_classes == identities, label
assert ds.features["synthetic"].dtype == "bool" and ds.features["index"].dtype == "int64", ds.features
for row in ds:
    assert row["image"].mode == "RGB" and row["image"].size[0] == row["image"].size[1], row["image"]
    assert label.int2str(row["label"]) == row["identity"], row
    assert row["synthetic"] is True
# The folder with its card loads by name alone, too.
named = datasets.load_dataset(root, split="train", cache_dir=f"{root}/../hf-cache")
assert len(named) == images and isinstance(named.features["label"], datasets.ClassLabel), named
print(f"datasets {datasets.__version__}: {len(ds)} images, {label.num_classes} classes")
