"""Writes one and the same manifest in every form in which a column may come: FOLDER/<form>.parquet, a form each.

usage: forms.py DEMO FOLDER; prints the names of the forms, one a line.
"""

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
for path in sorted(folder.glob("*.parquet")):
    print(path.name)
print("hive")
