"""Measures inpainting, super-resolution and morphing of a trained model on held-out photographs, beside what needs no model.

usage: python pipelines/applications.py MANIFEST.parquet SPLIT MODEL OUT [IMAGES]

MANIFEST has the columns identity and image and the rows of SPLIT show persons that the model knows, in pictures that it has not seen; its
rows `train` are what the other methods learn from. IMAGES (500) of SPLIT are drawn with a fixed seed. Writes OUT/applications.json and
prints a table. With JUDGE, a face network in ONNX (input 3 x H x W, RGB, (value - 127.5) / 128; PLACEMENT: left, top and side of an image in it),
also cosine similarity to the person and rank-1. SIZE is the side of the model's images (64). AUGMENT names the built program. Needs numpy, pyarrow, Pillow, opencv-python-headless, scikit-image; with JUDGE onnxruntime. PatchMatch is measured where pypatchmatch is installed.
"""

import io
import json
import os
import pathlib
import random
import subprocess
import sys

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from skimage.metrics import structural_similarity

try:
    import patchmatch
except ImportError:
    patchmatch = None

AUGMENT = os.environ.get("AUGMENT", "target/release/augment")
COMPONENTS, RIDGE, RESAMPLES, STEPS = 256, 0.02, 2000, 9


def decode(data, size):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.resize((size, size), Image.BICUBIC, (left, top, left + side, top + side)))


def read(table, size):
    column = table["image"].to_pylist()
    return np.stack([decode(c["bytes"] if isinstance(c, dict) else c, size) for c in column])


class Judge:
    """Embeddings of square images, and the mean of each person's training images."""

    def __init__(self, path, images, names):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = sorted(set(names))
        embedded, names = self.embed(images), np.array(names)
        means = np.stack([embedded[names == name].mean(0) for name in self.names])
        self.means = means / np.linalg.norm(means, axis=1, keepdims=True)

    def embed(self, images):
        name, rows = self.session.get_inputs()[0].name, []
        height, width = self.session.get_inputs()[0].shape[2:]
        left, top, side = map(int, os.environ.get("PLACEMENT", f"0,0,{min(height, width)}").split(","))
        for image in images:
            x = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
            around = (top, height - top - side, left, width - left - side)
            x = cv2.copyMakeBorder(x, *around, cv2.BORDER_REPLICATE).astype(np.float32)
            rows.append(self.session.run(None, {name: ((x - 127.5) / 128).transpose(2, 0, 1)[None]})[0][0])
        rows = np.stack(rows)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def see(self, images, names):
        cosines = self.embed(images) @ self.means.T
        own = np.array([self.names.index(name) for name in names])
        return cosines[np.arange(len(own)), own], (cosines.argmax(1) == own).astype(float)


class Faces:
    """Eigenfaces of the training images: the face that fits what is known best, and the nearest training face."""

    def __init__(self, images):
        x = images.reshape(len(images), -1).astype(np.float64) / 255
        self.images, self.x, self.mean = images, x, x.mean(0)
        _, s, v = np.linalg.svd(x - self.mean, full_matrices=False)
        k = min(COMPONENTS, len(s))
        self.basis, self.scale = v[:k], s[:k] / np.sqrt(len(x))

    def fill(self, operator, y):
        """The most likely face f with operator(f) = y, under a normal distribution of faces and a little noise."""
        a = np.stack([operator(row * scale) for row, scale in zip(self.basis, self.scale)], 1)
        rest = y - operator(self.mean)
        c = np.linalg.solve(a.T @ a + RIDGE * np.eye(a.shape[1]), a.T @ rest.T)
        return self.mean + (self.scale[:, None] * c).T @ self.basis

    def nearest(self, operator, y):
        known = np.stack([operator(row) for row in self.x])
        distance = (known**2).sum(1)[None] - 2 * y @ known.T
        return self.images[distance.argmin(1)]


def interval(values):
    """Mean and 95 % interval by the bootstrap over images."""
    rng = np.random.default_rng(0)
    means = [np.mean(rng.choice(values, len(values))) for _ in range(RESAMPLES)]
    return [float(np.mean(values)), *(float(v) for v in np.percentile(means, [2.5, 97.5]))]


def psnr(a, b, where=None):
    d = (a.astype(np.float64) - b.astype(np.float64)) ** 2
    d = d[:, where] if where is not None else d.reshape(len(d), -1, 3)
    return 10 * np.log10(255**2 / np.maximum(d.reshape(len(d), -1).mean(1), 1e-9))


def ssim(a, b):
    return np.array([structural_similarity(x, y, channel_axis=2, data_range=255) for x, y in zip(a, b)])


def run(out, *args):
    subprocess.run([AUGMENT, *args, "--format", "parquet", "--out", out, "-q"], check=True, stdout=subprocess.DEVNULL)
    table = pa.concat_tables([pq.read_table(p) for p in sorted(pathlib.Path(out, "data").glob("*.parquet"))])
    return np.stack([np.asarray(Image.open(io.BytesIO(c["bytes"]))) for c in table["image"].to_pylist()])


def pictures(table, images):
    """`table` with these images, as PNG."""
    encoded = [io.BytesIO() for _ in images]
    for target, image in zip(encoded, images):
        Image.fromarray(image).save(target, "png")
    column = pa.array([e.getvalue() for e in encoded], pa.binary())
    return table.set_column(table.schema.get_field_index("image"), "image", column)


def morphs(given, truth, names, judge, model, split, out):
    """Between two pictures of one person: how even the steps are, and whether it stays that person; beside pixels that fade."""
    pairs, waiting = [], {}
    for row, name in enumerate(names):
        if name in waiting:
            pairs.append((waiting.pop(name), row))
        else:
            waiting[name] = row
    rows = [row for pair in pairs for row in pair]
    pq.write_table(pictures(given.take(rows), truth[rows]), f"{out}/pairs.parquet")
    result = {}
    shares = np.linspace(0, 1, STEPS)[:, None, None, None]
    faded = np.concatenate([np.rint((1 - shares) * truth[a] + shares * truth[b]) for a, b in pairs]).astype(np.uint8)
    ways = {"fading pixels": faded}
    for path in "straight", "great-circle":
        pair = ["--manifest", f"{out}/pairs.parquet", "--split", split, "--model", model, "--steps", str(STEPS), "--path", path]
        ways[f"augment, {path}"] = run(f"{out}/morph-{path}", "morph", *pair)
    people = [name for a, _ in pairs for name in [names[a]] * STEPS]
    for way, frames in ways.items():
        embedded = judge.embed(frames).reshape(len(pairs), STEPS, -1)
        steps = np.linalg.norm(np.diff(embedded, axis=1), axis=2)
        similarity, rank1 = judge.see(frames, people)
        inner = np.tile(np.arange(STEPS) % (STEPS - 1) != 0, len(pairs))
        figures = {"largest over mean step": steps.max(1) / steps.mean(1), "similarity": similarity[inner], "rank1": rank1[inner]}
        result[way] = {k: interval(v) for k, v in figures.items()}
        cells = "  ".join(f"{k} {v[0]:.3f} ({v[1]:.3f} .. {v[2]:.3f})" for k, v in result[way].items())
        print(f"{f'morph, {len(pairs)} pairs':24} {way:14} {cells}", flush=True)
    return result


def main():
    manifest, split, model, out = sys.argv[1:5]
    count = int(sys.argv[5]) if len(sys.argv) > 5 else 500
    pathlib.Path(out).mkdir(parents=True, exist_ok=True)
    table = pq.read_table(manifest)
    splits = np.array(table["split"].to_pylist())
    rows = list(np.flatnonzero(splits == split))
    random.Random(0).shuffle(rows)
    given = table.take(sorted(rows[:count]))
    training = table.take(np.flatnonzero(splits == "train"))
    size = int(os.environ.get("SIZE", 64))
    truth, names = read(given, size), given["identity"].to_pylist()
    # At the model's size already, so that what is not filled comes back as it was.
    pq.write_table(pictures(given, truth), f"{out}/given.parquet")
    known, known_names = read(training, size), training["identity"].to_pylist()
    judge = Judge(os.environ["JUDGE"], known, known_names) if "JUDGE" in os.environ else None
    faces = Faces(known)
    flat = truth.reshape(len(truth), -1).astype(np.float64) / 255
    common = ["--manifest", f"{out}/given.parquet", "--split", split, "--model", model]
    result = {}

    def measure(task, method, images, where=None):
        figures = {"psnr": psnr(images, truth, where), "ssim": ssim(images, truth)}
        if judge:
            figures["similarity"], figures["rank1"] = judge.see(images, names)
        result.setdefault(task, {})[method] = {k: interval(v) for k, v in figures.items()}
        cells = "  ".join(f"{k} {v[0]:.3f} ({v[1]:.3f} .. {v[2]:.3f})" for k, v in result[task][method].items())
        print(f"{task:24} {method:14} {cells}", flush=True)

    def clip(x):
        return np.clip(np.rint(x.reshape(truth.shape) * 255), 0, 255).astype(np.uint8)

    if judge:
        measure("photographs", "truth", truth)
    hole = size * 25 // 64
    place = np.random.default_rng(0).integers(0, size - hole, 2)
    holes = {
        "centre": ((size - hole) // 2, (size - hole) // 2, hole, hole),
        "random": (int(place[0]), int(place[1]), hole, hole),
        "lower half": (0, size // 2, size, size // 2),
    }
    for name, (x, y, w, h) in holes.items():
        task, mask = f"inpaint, {name}", np.zeros((size, size), bool)
        mask[y : y + h, x : x + w] = True
        kept = np.repeat(~mask.reshape(-1), 3)

        def paste(images, mask=mask):
            images, pasted = images.copy(), truth.copy()
            pasted[:, mask] = images[:, mask]
            return pasted

        box = ["--box", f"{x},{y},{w},{h}"]
        measure(task, "mean colour", paste(np.broadcast_to(truth[:, ~mask].mean(1)[:, None, None], truth.shape).astype(np.uint8)), mask)
        for method, flag in ("Telea", cv2.INPAINT_TELEA), ("Navier-Stokes", cv2.INPAINT_NS):
            filled = [cv2.inpaint(image, mask.astype(np.uint8), 3, flag) for image in truth]
            measure(task, method, np.stack(filled), mask)
        if patchmatch:
            measure(task, "PatchMatch", np.stack([patchmatch.inpaint(image, mask, patch_size=3) for image in truth]), mask)
        measure(task, "eigenfaces", paste(clip(faces.fill(lambda f: f[kept], flat[:, kept]))), mask)
        measure(task, "nearest face", paste(faces.nearest(lambda f: f[kept], flat[:, kept])), mask)
        for method, more in ("the paper's way", ["--refine", "0", "--seam", "hard"]), ("augment", []):
            made = run(f"{out}/{task.replace(' ', '-')}-{method.replace(' ', '-')}", "inpaint", *common, *box, *more)
            assert np.array_equal(made[:, ~mask], truth[:, ~mask])
            measure(task, method, made, mask)
    for factor in (4, 8):
        task, side = f"upscale, x{factor}", size // factor

        def small(f, side=side, factor=factor):
            return f.reshape(side, factor, side, factor, 3).mean((1, 3)).reshape(-1)

        reduced = np.stack([np.rint(small(image.astype(np.float64))) for image in truth]).astype(np.uint8).reshape(-1, side, side, 3)
        pq.write_table(pictures(given, reduced), f"{out}/small-{factor}.parquet")
        for method, way in ("bicubic", cv2.INTER_CUBIC), ("Lanczos", cv2.INTER_LANCZOS4):
            measure(task, method, np.stack([cv2.resize(i, (size, size), interpolation=way) for i in reduced]))
        y = reduced.reshape(len(reduced), -1) / 255
        measure(task, "eigenfaces", clip(faces.fill(small, y)))
        measure(task, "nearest face", faces.nearest(small, y))
        given_small = ["--manifest", f"{out}/small-{factor}.parquet", "--split", split, "--model", model, "--factor", str(factor)]
        for method, more in ("encoder alone", ["--refine", "0"]), ("augment", []):
            made = run(f"{out}/x{factor}-{method.replace(' ', '-')}", "upscale", *given_small, *more)
            back = np.stack([small(image.astype(np.float64)) for image in made]).reshape(reduced.shape)
            print(f"{task:24} {method:14} furthest from the small image: {np.abs(back - reduced).max():.2f} of 255")
            measure(task, method, made)
    if judge:
        result["morph"] = morphs(given, truth, names, judge, model, split, out)
    pathlib.Path(out, "applications.json").write_text(json.dumps(result, indent=1))


main()
