"""Makes the manifests of a few-images experiment from labelled face sets that have a column `split`.

usage: python pipelines/protocol.py OUT.parquet PER_IDENTITY SET.parquet ...

Rows of split `train` are kept, at most PER_IDENTITY of a person (0: all), the first after a seeded shuffle, and so are the
rows of every other split; of a set whose other splits show other persons than its training rows, those become the
split `dev`: persons to choose by, never to train on. Needs pyarrow.
"""

import os
import random
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SEED = 0
COLUMNS = ["identity", "image_id", "image", "split"]


def rows(path: str, per_identity: int) -> pa.Table:
    table = pq.read_table(path, columns=COLUMNS)
    identities, splits = table["identity"].to_pylist(), table["split"].to_pylist()
    trained = {i for i, s in zip(identities, splits) if s == "train"}
    order = list(range(len(identities)))
    random.Random(SEED).shuffle(order)
    taken: dict[str, int] = {}
    keep, names = [], []
    for row in order:
        identity, split = identities[row], splits[row]
        if split == "train":
            taken[identity] = taken.get(identity, 0) + 1
            if per_identity and taken[identity] > per_identity:
                continue
        keep.append(row)
        names.append(split if identity in trained else "dev")
    table = table.take(pa.array(keep))
    return table.set_column(table.schema.get_field_index("split"), "split", pa.array(names))


def main() -> None:
    out, per_identity, paths = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    tables = [rows(path, per_identity) for path in paths]
    table = pa.concat_tables(tables).sort_by([("split", "ascending"), ("identity", "ascending"), ("image_id", "ascending")])
    # A file that has its name is complete.
    pq.write_table(table, out + ".partial", row_group_size=512, compression="none")
    os.replace(out + ".partial", out)
    for split in pc.unique(table["split"]).to_pylist():
        part = table.filter(pc.equal(table["split"], split))
        print(f"{out}: split {split}: {part.num_rows} images of {len(pc.unique(part['identity']))} persons")


main()
