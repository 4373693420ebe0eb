"""Writes one and the same manifest in every form in which a column may come: FOLDER/<form>.parquet, a form each.

usage: forms.py DEMO FOLDER; prints the names of the forms, one a line.
"""

import base64
import datetime
import decimal
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet import encryption

demo, folder = sys.argv[1], Path(sys.argv[2])
rows = [r for r in pq.read_table(demo).to_pylist() if r["split"] == "train"][:24]
names = sorted({r["identity"] for r in rows})
ids = [names.index(r["identity"]) for r in rows]
images = [r["image"]["bytes"] for r in rows]
splits = ["train" if i % 4 else "test" for i in range(len(rows))]
files = folder / "files"
files.mkdir()
paths = []
for n, image in enumerate(images):
    (files / f"{n}.png").write_bytes(image)
    paths.append(f"files/{n}.png")


def put(name, identity=None, image=None, **more):
    columns = {
        "identity": pa.array([str(i) for i in ids]) if identity is None else identity,
        "image": pa.array(images, pa.binary()) if image is None else image,
        "split": pa.array(splits),
        **more,
    }
    pq.write_table(pa.table({k: v for k, v in columns.items() if v is not False}), folder / f"{name}.parquet")


text = pa.array([str(i) for i in ids])
for ty in [pa.int8(), pa.uint8(), pa.int16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64()]:
    put(f"identity-{ty}", pa.array(ids, ty))
for ty in [pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]:
    put(f"identity-{ty}", text.cast(ty))
put("identity-decimal", pa.array([decimal.Decimal(i) for i in ids], pa.decimal128(38, 0)))
put("identity-dictionary", text.dictionary_encode())
put("identity-dictionary-large", text.cast(pa.large_string()).dictionary_encode())
put("identity-dictionary-of-numbers", pa.array(ids).dictionary_encode())

binary = pa.array(images, pa.binary())
for ty in [pa.large_binary(), pa.binary_view()]:
    put(f"image-{ty}", image=binary.cast(ty))
put("image-dictionary", image=binary.dictionary_encode())
struct = lambda b, p: pa.StructArray.from_arrays([b, p], ["bytes", "path"])
nothing = pa.nulls(len(rows))
put("image-struct", image=struct(binary, pa.array(paths)))
put("image-struct-large", image=struct(binary.cast(pa.large_binary()), pa.array(paths).cast(pa.large_string())))
put("image-struct-no-path", image=struct(binary, nothing))
put("image-struct-null-bytes", image=struct(nothing, pa.array(paths)))
put("image-struct-only-bytes", image=pa.StructArray.from_arrays([binary], ["bytes"]))
put("image-struct-only-path", image=pa.StructArray.from_arrays([pa.array(paths)], ["path"]))
put("image-struct-dictionary-path", image=struct(nothing, pa.array(paths).dictionary_encode()))
some = lambda values, keep: [v if i % 2 == keep else None for i, v in enumerate(values)]
put("image-struct-some-bytes", image=struct(pa.array(some(images, 0), pa.binary()), pa.array(some(paths, 1), pa.string())))
put("image-or-uri", image=pa.array(some(images, 0), pa.binary()), image_uri=pa.array(some(paths, 1), pa.string()))
put("image-null-and-uri", image=nothing, image_uri=pa.array(paths))
for ty in [pa.string(), pa.large_string(), pa.string_view()]:
    put(f"uri-{ty}", image=False, image_uri=pa.array(paths).cast(ty))
put("uri-dictionary", image=False, image_uri=pa.array(paths).dictionary_encode())
put("uri-absolute", image=False, image_uri=pa.array([str(folder / p) for p in paths]))
put("uri-file", image=False, image_uri=pa.array([(folder / p).as_uri() for p in paths]))
put("uri-dots", image=False, image_uri=pa.array([f"./x/../{p}" for p in paths]))
put("others-of-no-meaning", group=nothing, image_id=pa.array([None] * len(rows), pa.string()), identity_set=nothing)
put("split-dictionary", split=pa.array(splits).dictionary_encode())
put("split-binary", split=pa.array([s.encode() for s in splits], pa.binary()))

# Lists: a row for each person and split.
keys = sorted(set(zip(ids, splits)))
of = lambda values: [[v for i, s, v in zip(ids, splits, values) if (i, s) == key] for key in keys]
grouped = {"identity": pa.array([str(i) for i, _ in keys]), "split": pa.array([s for _, s in keys])}
item = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
lists = {
    "list-binary": pa.array(of(images), pa.list_(pa.binary())),
    "list-large": pa.array(of(images), pa.large_list(pa.large_binary())),
    "list-struct": pa.array([[{"bytes": b, "path": None} for b in row] for row in of(images)], pa.list_(item)),
    "list-struct-mixed": pa.array(
        [
            [{"bytes": b, "path": None} if n % 2 else {"bytes": None, "path": p} for n, (b, p) in enumerate(zip(*both))]
            for both in zip(of(images), of(paths))
        ],
        pa.list_(item),
    ),
}
for name, column in lists.items():
    pq.write_table(pa.table({**grouped, "image": column}), folder / f"{name}.parquet")
pq.write_table(pa.table({**grouped, "image_uri": pa.array(of(paths), pa.list_(pa.string()))}), folder / "list-uri.parquet")
pairs = [(i, s) for i, s in zip(ids, splits)]
pq.write_table(
    pa.table({"identity": text, "split": pa.array(splits), "image": pa.array([[b] for b in images], pa.list_(pa.binary(), 1))}),
    folder / "list-fixed.parquet",
)

# Other people's writers.
frame = {"identity": [str(i) for i in ids], "image": images, "split": splits}
pd.DataFrame(frame).astype({"identity": "category"}).to_parquet(folder / "pandas-category.parquet")
pd.DataFrame({**frame, "identity": pd.array(ids, "Int64")}).to_parquet(folder / "pandas-int.parquet")
pd.DataFrame({**frame, "identity": np.array(ids, float)}).to_parquet(folder / "pandas-float.parquet")
pd.DataFrame(frame).set_index("identity").to_parquet(folder / "pandas-index.parquet")
pl.DataFrame(frame).with_columns(pl.col("identity").cast(pl.Categorical)).write_parquet(folder / "polars-categorical.parquet")
pl.DataFrame(frame).with_columns(pl.col("identity").cast(pl.Enum([str(i) for i in range(len(names))]))).write_parquet(
    folder / "polars-enum.parquet"
)
pl.DataFrame(frame).group_by("identity", "split").agg("image").write_parquet(folder / "polars-list.parquet")
table = pa.table(frame)
duckdb.register("t", table)
for name, query in {
    "duckdb": "select * from t",
    "duckdb-hugeint": "select identity::hugeint as identity, image, split from t",
    "duckdb-enum": f"select identity::enum({', '.join(repr(str(i)) for i in range(len(names)))}) as identity, image, split from t",
    "duckdb-struct": "select identity, {'bytes': image, 'path': 'x.png'} as image, split from t",
}.items():
    duckdb.execute(f"copy ({query}) to '{folder}/{name}.parquet'")
duckdb.execute("create table u as select identity, image, split from t")
duckdb.execute(f"copy u to '{folder}/hive' (format parquet, partition_by (split, identity))")

# What is agreed to, in the forms of days and truth values.
day = datetime.date(2099, 12, 31)
when = datetime.datetime(2099, 12, 31, 12)
n = len(rows)
for name, expires in {
    "text": pa.array(["2099-12-31"] * n),
    "date32": pa.array([day] * n, pa.date32()),
    "date64": pa.array([day] * n, pa.date64()),
    **{f"timestamp-{u}": pa.array([when] * n, pa.timestamp(u)) for u in ["s", "ms", "us", "ns"]},
    "timestamp-utc": pa.array([when] * n, pa.timestamp("us", "UTC")),
    "timestamp-zone": pa.array([when] * n, pa.timestamp("ns", "Europe/Berlin")),
}.items():
    put(f"terms-{name}", consent=pa.array([True] * n), purpose=pa.array(["training"] * n), expires=expires)
put("terms-consent-text", consent=pa.array(["yes"] * n), purpose=pa.array(["training"] * n).dictionary_encode(), expires=pa.array([day] * n))
old = pa.table({"identity": text, "image": binary, "split": splits, "consent": [1] * n, "purpose": ["training"] * n, "expires": pa.array([when] * n, pa.timestamp("ns"))})
pq.write_table(old, folder / "terms-int96.parquet", use_deprecated_int96_timestamps=True)

# Where faces are: five points and boxes, as detectors and lists have them. The drawn pictures are 48 px wide.
template = np.array([[38.25, 51.75], [73.5, 51.5], [56.0, 71.75], [41.5, 92.25], [70.75, 92.25]])
points = np.array([template / 4 + 8 + (i % 3) / 4 for i in range(n)])
flat, by_axes = points.reshape(n, 10), points.transpose(0, 2, 1)
parts = ["left_eye", "right_eye", "nose", "mouth_left", "mouth_right"]
person = [1, 0, 2, 4, 3]
point = pa.struct([("x", pa.float64()), ("y", pa.float64())])
listed = lambda values, ty=pa.float64(): pa.array(values.tolist(), pa.list_(ty))
nested = lambda values, ty: pa.array(values.tolist(), ty)
named = lambda make: pa.array([{name: make(p) for name, p in zip(parts, row.tolist())} for row in points])
for name, columns in {
    "list": {"landmarks": listed(flat)},
    "list-float32": {"landmarks": listed(flat, pa.float32())},
    "list-fixed": {"landmarks": nested(flat, pa.list_(pa.float64(), 10))},
    "list-large": {"landmarks": nested(flat, pa.large_list(pa.float32()))},
    "insightface": {"kps": nested(points, pa.list_(pa.list_(pa.float32())))},
    "tensor": {"kps": nested(points, pa.list_(pa.list_(pa.float32(), 2), 5))},
    "mtcnn": {"landmarks": listed(by_axes.reshape(n, 10))},
    "mtcnn-two": {"landmarks": nested(by_axes, pa.list_(pa.list_(pa.float64())))},
    "mtcnn-axes": {"landmarks": pa.array([{"x": x, "y": y} for x, y in by_axes.tolist()])},
    "keypoints": {"keypoints": named(list)},
    "keypoints-of-the-person": {"landmarks": listed(points[:, person].reshape(n, 10))},
    "points": {"landmarks": pa.array([[{"x": x, "y": y} for x, y in row] for row in points.tolist()], pa.list_(point))},
    "points-named": {"landmarks": named(lambda p: {"x": p[0], "y": p[1]})},
    "json": {"landmarks": pa.array([str(row) for row in points.tolist()])},
    "text": {"landmarks": pa.array([" ".join(map(str, row)) for row in flat.tolist()])},
    "text-dictionary": {"landmarks": pa.array([str(row) for row in flat.tolist()]).dictionary_encode()},
    "columns": {f"{part}_{axis}": points[:, i, k] for i, part in enumerate(parts) for k, axis in enumerate("xy")},
    "columns-celeba": {
        f"{part}_{axis}": (points[:, i, k] * 1).astype(np.float32)
        for i, part in enumerate(["lefteye", "righteye", "nose", "leftmouth", "rightmouth"])
        for k, axis in enumerate("xy")
    },
    "and-box": {"landmarks": listed(flat), "bbox": pa.nulls(n)},
}.items():
    put(f"faces-{name}", **{k: pa.array(v) if isinstance(v, np.ndarray) else v for k, v in columns.items()})
boxes = np.array([[10 + i % 3, 8, 20, 27] for i in range(n)])
corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
for name, columns in {
    "list": {"bbox": listed(boxes)},
    "list-int": {"bbox": listed(boxes, pa.int32())},
    "list-fixed": {"bbox": nested(boxes, pa.list_(pa.float32(), 4))},
    "struct": {"bbox": pa.array([dict(zip(["x", "y", "width", "height"], row)) for row in boxes.tolist()])},
    "struct-corners": {"bbox": pa.array([dict(zip(["x1", "y1", "x2", "y2"], row)) for row in corners.tolist()])},
    "struct-sides": {"bbox": pa.array([dict(zip(["left", "top", "right", "bottom"], row)) for row in corners.tolist()])},
    "corners": {"bbox_xyxy": listed(corners)},
    "text": {"bbox": pa.array([str(row) for row in boxes.tolist()])},
    "no-landmarks": {"bbox": listed(boxes), "landmarks": pa.nulls(n, pa.list_(pa.float64()))},
}.items():
    put(f"boxes-{name}", **columns)
several = {**grouped, "image": lists["list-binary"]}
pq.write_table(pa.table({**several, "landmarks": pa.array(of(flat.tolist()))}), folder / "faces-of-lists.parquet")
pq.write_table(pa.table({**several, "bbox": pa.array(of(boxes.tolist()))}), folder / "boxes-of-lists.parquet")

for path in sorted(folder.glob("*.parquet")):
    print(path.name)
print("hive")


class Keys(encryption.KmsClient):
    """Wraps a key by writing it down."""

    def __init__(self, config):
        super().__init__()

    def wrap_key(self, key, _):
        return base64.b64encode(key)

    def unwrap_key(self, key, _):
        return base64.b64decode(key)


# What cannot be read: one column is encrypted, and its name is not.
factory = encryption.CryptoFactory(Keys)
config = encryption.EncryptionConfiguration(footer_key="f", column_keys={"k": ["image"]}, plaintext_footer=True)
keys = factory.file_encryption_properties(encryption.KmsConnectionConfig(), config)
with pq.ParquetWriter(folder / "encrypted", table.schema, encryption_properties=keys) as writer:
    writer.write_table(table)
