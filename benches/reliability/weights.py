"""Offers pickles in the place of a model, plain and disguised, and safetensors files with something wrong in them."""

import io
import json
import pathlib
import pickle
import shutil
import struct
import zipfile

from common import WORK, augment, model, plant, row

marker = WORK / "executed"
good = (model() / "model.safetensors").read_bytes()


class Bomb:
    def __reduce__(self):
        return pathlib.Path.touch, (marker,)


def archive(name, body):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(name, body)
    return out.getvalue()


length = struct.unpack("<Q", good[:8])[0]
header = json.loads(good[8 : 8 + length])


def with_header(change):
    """The model with another header, whose own hash is then wrong too."""
    changed = json.loads(json.dumps(header))
    change(changed)
    text = json.dumps(changed).encode()
    return struct.pack("<Q", len(text)) + text + good[8 + length :]


tensor = next(k for k in header if k != "__metadata__")
pickles = [pickle.dumps(Bomb(), protocol) for protocol in range(6)]
pickles += [pickle.dumps({"generator": [1.0] * 100, "bomb": Bomb()}, protocol) for protocol in (2, 4, 5)]
pickles += [archive(name, pickles[2]) for name in ("archive/data.pkl", "data.pkl", "model/data.pkl")]
pickles += [
    struct.pack("<Q", len(pickles[2])) + pickles[2],
    good[: 8 + length] + pickles[2],
    pickles[4] + good,
    good[:8] + pickles[4] + good[8:],
    good + pickles[2],
    good + archive("data.pkl", pickles[2]),
    with_header(lambda h: h["__metadata__"].update(augment=pickles[0].decode("latin-1"))),
    with_header(lambda h: h.update({"__reduce__": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})),
]
faulty = [
    with_header(lambda h: h.pop(tensor)),
    with_header(lambda h: h[tensor].update(dtype="F16")),
    with_header(lambda h: h[tensor].update(shape=[1])),
    with_header(lambda h: h.update(renamed=h.pop(tensor))),
    with_header(lambda h: h.pop("__metadata__")),
    good[:-4] + struct.pack("<f", float("nan")),
    good[: len(good) // 2],
    b"",
]
plant("weights", model(), WORK / "sealed")
sealed = [p.read_bytes() for p in sorted((WORK / "sealed").glob("*/model.safetensors"))]
refused = 0
for i, data in enumerate(pickles + faulty + sealed):
    folder = WORK / f"case-{i}"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(data)
    result = augment("synthesize", "--model", folder, "--per-id", 1, "-q", "--out", folder / "out", check=False)
    refused += result.returncode == 2 and "model.safetensors" in result.stderr and not (folder / "out").exists()
    shutil.rmtree(folder)
total = len(pickles) + len(faulty) + len(sealed)
row(
    "pickles and faulty weights in the place of a model",
    f"{refused} of {total} refused ({len(pickles)} pickles, {len(faulty)} faulty files, {len(sealed)} faulty ones whose hash is right) with exit code 2, {int(marker.exists())} executed",
    "20 disguised pickles and every fault refused before loading",
    refused == total and not marker.exists() and len(pickles) >= 20,
)
