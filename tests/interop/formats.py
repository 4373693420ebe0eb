"""Reads one dataset that was written in several formats with the formats' own readers, and wants the same images, labels and rows from all.

usage: formats.py PARQUET [FORMAT=FOLDER ..]; prints a line for each, and exits non-zero if one differs. FORMAT is one of recordio (mxnet),
webdataset (webdataset), hub (datasets, on WebDataset tars), tables (duckdb and polars, on PARQUET itself), folder (datasets and Pillow).
"""

import collections
import glob
import io
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

parquet, named = Path(sys.argv[1]), [arg.split("=", 1) for arg in sys.argv[2:]]
table = pq.read_table(sorted(glob.glob(f"{parquet}/data/*.parquet")))
names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
rows = {row["sample_id"]: row for row in table.to_pylist()}
assert len(rows) == table.num_rows > 0
wanted = collections.Counter((row["label"], row["image"]["bytes"]) for row in rows.values())


def recordio(folder):
    """As arcface_torch's MXFaceDataset and insightface's FaceImageIter go about it."""
    from mxnet import recordio

    classes, height, width = (int(n) for n in (folder / "property").read_text().split(","))
    assert classes == len(names), classes
    reader = recordio.MXIndexedRecordIO(str(folder / "train.idx"), str(folder / "train.rec"), "r")
    header, rest = recordio.unpack(reader.read_idx(0))
    assert header.flag == 2 and rest == b"", header
    end, after = (int(n) for n in header.label)
    assert (end, after) == (len(rows) + 1, len(rows) + 1 + classes), header.label
    found, by_key = collections.Counter(), {}
    for key in range(1, end):
        header, image = recordio.unpack(reader.read_idx(key))
        assert header.flag == 0 and header.label == int(header.label), header
        assert Image.open(io.BytesIO(image)).size == (width, height)
        by_key[key] = int(header.label)
        found[int(header.label), image] += 1
    for label, key in enumerate(range(end, after)):
        header, rest = recordio.unpack(reader.read_idx(key))
        first, last = (int(n) for n in header.label)
        assert rest == b"" and all(by_key[k] == label for k in range(first, last)), (label, header)
        assert last - first == sum(n == label for n in by_key.values()), (label, header)
    lines = [line.split("\t") for line in (folder / "train.lst").read_text().splitlines()]
    assert {int(key): int(label) for key, label, _ in lines} == by_key
    assert {Path(name).stem for _, _, name in lines} == set(rows)
    # From the first to the last record, without the index.
    plain, n = recordio.MXRecordIO(str(folder / "train.rec"), "r"), 0
    while plain.read() is not None:
        n += 1
    assert n == after, n
    config = {}
    exec((folder / "arcface_torch.py").read_text().replace("from easydict import EasyDict as edict", "edict = type('edict', (), {})"), config)
    assert (config["config"].num_classes, config["config"].num_image) == (classes, len(rows))
    return found


def webdataset(folder):
    import webdataset as wds

    found = collections.Counter()
    for sample in wds.WebDataset(sorted(glob.glob(f"{folder}/train-*.tar")), shardshuffle=False):
        row = json.loads(sample["json"])
        expected = {k: v for k, v in rows[sample["__key__"]].items() if k != "image"}
        assert row == expected, (row, expected)
        found[int(sample["cls"]), sample.get("jpg") or sample["png"]] += 1
    return found


def hub(folder):
    import datasets

    datasets.disable_progress_bars()
    tars = sorted(glob.glob(f"{folder}/train-*.tar"))
    read = datasets.load_dataset("webdataset", data_files={"train": tars}, split="train", cache_dir=f"{folder}/../../hf-cache")
    kind = "jpg" if "jpg" in read.features else "png"
    assert isinstance(read.features[kind], datasets.Image), read.features
    read = read.cast_column(kind, datasets.Image(decode=False))
    return collections.Counter((int(row["cls"]), row[kind]["bytes"]) for row in read)


def tables(_):
    import duckdb
    import polars

    path = f"{parquet}/data/*.parquet"
    found = duckdb.sql(f"select label, image.bytes from '{path}'").fetchall()
    frame = polars.scan_parquet(path).select("label", polars.col("image").struct.field("bytes")).collect()
    assert collections.Counter(frame.rows()) == collections.Counter(found)
    return collections.Counter(found)


def folder(root):
    """As torchvision's ImageFolder goes about it: classes are the names of folders, sorted."""
    folders = sorted(p.name for p in root.iterdir() if p.is_dir())
    to_index = json.loads((root / "class_to_idx.json").read_text())
    assert sorted(to_index) == folders, folders
    found = collections.Counter()
    for index, name in enumerate(folders):
        images = sorted((root / name).iterdir())
        assert images and to_index[name] == index, name
        found.update((index, image.read_bytes()) for image in images)
    return found


for name, at in named:
    found = globals()[name](Path(at))
    assert found == wanted, f"{name}: {sum((wanted - found).values())} images are missing or other, {sum((found - wanted).values())} are strange"
    print(f"{name}: {len(rows)} images of {len(names)} classes")
