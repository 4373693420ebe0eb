"""Faces in a folder of photographs, found by `augment manifest --detector` and by OpenCV's YuNet with the same network at the same size: photographs
a second (reading, decoding, finding; ours also writes the manifest), in turn, and how far the points of both lie apart, in distances of the eyes.

    pip install opencv-python-headless==5.0.0.93 pyarrow==26.0.1
    python benches/peer/detect.py AUGMENT photos/ yunet.onnx [landmarks.csv]

A list with the columns path and left_eye_x, left_eye_y, .. also gives the distances from its points.
"""

import csv
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

augment, photos, network, *more = sys.argv[1:]
RUNS, SIDES, SCORE, THREADS = 3, [160, 320, 640], 0.6, 2
files = sorted(p for p in Path(photos).glob("*/*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
cv2.setNumThreads(1)


def brought(image):
    """The photograph at the smallest of three sides that holds it, and its scale."""
    longest = max(image.shape[:2])
    side = next((s for s in SIDES if longest <= s), SIDES[-1])
    scale = side / longest
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR), scale


def find(part):
    detector, found = cv2.FaceDetectorYN.create(network, "", (320, 320), SCORE, 0.3, 50), {}
    for path in part:
        image, scale = brought(cv2.imread(str(path)))
        detector.setInputSize(image.shape[1::-1])
        _, faces = detector.detect(image)
        found[path] = [] if faces is None else [f[4:14].reshape(5, 2) / scale for f in faces]
    return found


def theirs():
    with ThreadPoolExecutor(THREADS) as pool:
        return {k: v for part in pool.map(find, [files[i::THREADS] for i in range(THREADS)]) for k, v in part.items()}


def ours(out):
    command = [augment, "manifest", photos, "--out", out, "--detector", network, "--threads", str(THREADS), "-q"]
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode in (0, 1)
    rows = pq.read_table(out, columns=["identity", "image_id", "landmarks"]).to_pylist()
    return {f"{r['identity']}/{r['image_id']}": np.array(r["landmarks"]).reshape(5, 2) for r in rows}


def seconds(f, *args):
    begun = time.perf_counter()
    return f(*args), time.perf_counter() - begun


eyes = lambda points: np.linalg.norm(points[1] - points[0])
apart = lambda a, b: float(np.linalg.norm(a - b, axis=1).mean() / eyes(b))
with tempfile.TemporaryDirectory() as folder:
    rates = ([], [])
    for _ in range(RUNS):
        (own, own_time), (other, other_time) = seconds(ours, f"{folder}/ids.parquet"), seconds(theirs)
        rates[0].append(len(files) / own_time)
        rates[1].append(len(files) / other_time)
print(f"{len(files)} photographs, found {len(own)}, by OpenCV {sum(1 for f in other.values() if f)}")
print(f"photographs/s: {statistics.median(rates[0]):.0f} / {statistics.median(rates[1]):.0f} = {statistics.median(rates[0]) / statistics.median(rates[1]):.2f}")
name = lambda path: f"{path.parent.name}/{path.stem}"
both = [min(apart(own[name(p)], face) for face in faces) for p, faces in other.items() if faces and name(p) in own]
print(f"points apart: mean {np.mean(both):.4f}, median {np.median(both):.4f}, most {np.max(both):.3f}")
if more:
    parts = ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"]
    for row in [list(csv.DictReader(open(more[0])))]:
        listed = {r["path"].rsplit(".", 1)[0]: np.array([[float(r[f"{p}_x"]), float(r[f"{p}_y"])] for p in parts]) for r in row}
    near = lambda faces, points: min((apart(f, points) for f in faces), default=1.0)
    of_ours = [apart(own[k], points) for k, points in listed.items() if k in own]
    of_theirs = [near(faces, listed[name(p)]) for p, faces in other.items() if name(p) in listed]
    print(f"from the listed points: ours {np.mean(of_ours):.3f} (median {np.median(of_ours):.3f}), nearest of OpenCV's {np.mean(of_theirs):.3f} (median {np.median(of_theirs):.3f})")
