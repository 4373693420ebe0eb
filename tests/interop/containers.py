"""Writes one small set of labelled pictures with MXNet's and WebDataset's own writers, and wants `augment manifest` to read back what was
written: the same bytes of the same persons in the same order. What cannot be read must be refused in words, and nothing be left out unsaid.

usage: containers.py AUGMENT FOLDER; prints a line for each container, and exits non-zero if one is read wrong. Needs
containers-requirements.txt. Without mxnet (the last one, 1.9.1, runs on Python up to 3.11) its containers are skipped.
"""

import gc
import io
import re
import runpy
import struct
import subprocess
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import webdataset as wds
from PIL import Image, PngImagePlugin

augment, folder = str(Path(sys.argv[1]).absolute()), Path(sys.argv[2]).absolute()
MAGIC = struct.pack("<I", 0xCED7230A)
rng = np.random.default_rng(0)


def picture(n):
    """JPEG and PNG in turn, with a comment from a multiple of four bytes on; one picture is larger than what is read at a time."""
    side = 640 if n == 13 else 48
    # Alone, twice in a row, at the end of the comment, and where no writer looks for it.
    comment = [MAGIC, MAGIC * 2 + b"ab", b"four" + MAGIC, b"x" + MAGIC][n // 2 % 4]
    image, out = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)), io.BytesIO()
    if n % 2:
        text = PngImagePlugin.PngInfo()
        text.add_text("Annotation", comment.decode("latin-1"))
        image.save(out, "PNG", pnginfo=text)
        data = out.getvalue()
    else:
        image.save(out, "JPEG")
        data = out.getvalue()
        data = data[:20] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + data[20:]
    if n == 4:  # At the very end, too.
        data += bytes(-len(data) % 4) + MAGIC
    Image.open(io.BytesIO(data)).load()
    assert (data.index(MAGIC) % 4 == 0) == (n // 2 % 4 != 3), (n, data.index(MAGIC))
    return data


PERSONS = ["Ann", "José Müller", "李", "o'Neil, Jr.", "007"]
N = 4 * len(PERSONS)
images = [picture(n) for n in range(N)]
classes = [n // 4 for n in range(N)]
names = [PERSONS[c] for c in classes]
kinds = ["png" if n % 2 else "jpg" for n in range(N)]
by_class = [(str(c), image) for c, image in zip(classes, images)]
by_name = list(zip(names, images))
wrong, checked = [], 0


def check(what, source, wanted=None, refused=None, rejected=0, says=""):
    """`source` must give the pictures `wanted`, in order; or, if `refused` is given, end with code 2 and a message that matches it."""
    global checked
    checked += 1
    out = folder / f"{checked:02}.parquet"
    run = subprocess.run([augment, "manifest", source, "--out", out, "-q"], capture_output=True)
    error, printed = run.stderr.decode(errors="replace"), run.stdout.decode(errors="replace")
    rows = pq.read_table(out).to_pylist() if out.exists() else []
    found = [(r["identity"], r["image"]["bytes"]) for r in rows]
    if refused is not None and run.returncode == 2:
        text = error.replace(str(folder), "")
        readable = "\ufffd" not in text and text.strip().isprintable()
        problem = None if not out.exists() and readable and re.search(refused, text) else f"the answer is {text.strip()!r}"
    elif wanted is None or run.returncode != (1 if rejected else 0):
        problem = f"code {run.returncode}, {len(rows)} pictures; {error.strip()}"
    elif found != wanted:
        same = "the same" if [image for _, image in found] == [image for _, image in wanted] else "other"
        persons = [person for person, _ in found], [person for person, _ in wanted]
        other = next((f"; {a!r} instead of {b!r}" for a, b in zip(*persons) if a != b), "")
        problem = f"{len(found)} pictures of {len(wanted)} that were written, {same} bytes{other}"
    elif len({(r["identity"], r["image_id"]) for r in rows}) < len(rows):
        problem = "names of images occur twice within a person"
    elif rejected != (pq.read_metadata(out.with_name(f"{out.stem}-rejects.parquet")).num_rows if rejected else 0):
        problem = "not as many rejects"
    else:
        problem = None if says in printed else f"does not say {says!r}: {printed}"
    wrong.extend([what] if problem else [])
    answer = "as written" if run.returncode == 0 else f"{len(rows)} read, {rejected} rejected" if run.returncode == 1 else "refused"
    print(f"WRONG {what}: {problem}" if problem else f"ok    {what}: {answer}")


def record_io(recordio):
    pack = lambda label, n, image: recordio.pack(recordio.IRHeader(0, label, n, 0), image)
    plain = [pack(float(c), n, image) for n, (c, image) in enumerate(zip(classes, images))]

    def write(name, records, keys=None):
        path = folder / f"{name}.rec"
        path.parent.mkdir(exist_ok=True)
        if keys is None:
            writer = recordio.MXRecordIO(str(path), "w")
            for record in records:
                writer.write(record)
        else:
            writer = recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
            for key, record in zip(keys, records):
                writer.write_idx(key, record)
        writer.close()
        return path

    path = write("plain/train", plain, range(N))
    data, index = path.read_bytes(), path.with_suffix(".idx")
    assert re.search(re.escape(MAGIC) + rb"...\x20", data, re.S), "no record was split"
    for form, source in {".rec": path, ".idx": index, "folder": path.parent}.items():
        check(f"MXIndexedRecordIO, by its {form}", source, by_class)
    index.write_text("".join(reversed(index.read_text().splitlines(True))))
    check("MXIndexedRecordIO, index out of order", path, by_class)
    index.unlink()
    check("MXIndexedRecordIO, index lost", path.parent, by_class)
    check("MXIndexedRecordIO, keys out of order", write("keys", plain, range(N, 0, -1)), by_class)
    check("MXRecordIO", write("alone", plain), by_class)
    # The classic form of insightface: where persons' headers are, the pictures, a header for each person.
    K = len(PERSONS)
    persons = [pack([4 * k + 1.0, 4 * k + 5.0], N + 1 + k, b"") for k in range(K)]
    check("insightface", write("classic", [pack([N + 1.0, N + 1.0 + K], 0, b""), *plain, *persons], range(N + K + 1)), by_class)
    for count in [1, 2, 11, 300]:
        labels = [[float(c)] + [0.25] * (count - 1) for c in classes]
        check(f"arrays of {count} labels", write(f"labels-{count}", map(pack, labels, range(N), images), range(N)), by_class)
    check("a record without a picture", write("other", plain + [pack(1.0, N, b"no picture")]), by_class, rejected=1)
    check("labels that are no class", write("shares", [pack(0.5, n, image) for n, image in enumerate(images)]), refused="label")
    for cut in [len(data) - 1, len(data) // 2, 21, 7, 2, 0]:
        path = folder / f"cut-{cut}.rec"
        path.write_bytes(data[:cut])
        check(f"cut off after {cut} bytes", path, refused="cut off|empty|no RecordIO")
    im2rec()


def im2rec():
    """MXNet's own program makes a list and two files of a folder of folders; it imports cv2 even where it takes pictures as they are."""
    for k, (c, image, kind) in enumerate(zip(classes, images, kinds)):
        file = folder / f"tree/{c}/{k:02}.{kind}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image)
    (folder / "im2rec").mkdir()
    sys.modules.setdefault("cv2", types.ModuleType("cv2"))
    script = Path(sys.modules["mxnet"].__file__).parent / "tools/im2rec.py"
    argv, stdout = sys.argv, sys.stdout
    for more in [["--list", "--recursive", "--no-shuffle", "--chunks", "2"], ["--pass-through"]]:
        sys.argv = [str(script), str(folder / "im2rec/train"), str(folder / "tree"), *more]
        sys.stdout = io.StringIO()
        runpy.run_path(str(script), run_name="__main__")
        gc.collect()  # Which closes its files.
    sys.argv, sys.stdout = argv, stdout
    files = [folder / f"im2rec/train_{chunk}.rec" for chunk in range(2)]
    for chunk, file in enumerate(files):
        check(f"im2rec.py, part {chunk}", file, by_class[chunk * N // 2 :][: N // 2])
    listed = (folder / "im2rec/train_0.lst").rename(folder / "tree/train_0.lst")
    check("im2rec.py, its list", listed, by_class[: N // 2])
    check("im2rec.py, folder of two parts", folder / "im2rec", by_class, refused="train_1.rec")


def web_dataset():
    def samples(label, key="{n:06}"):
        """A sample for each picture; `label` makes its other members."""
        for n, (c, name, kind, image) in enumerate(zip(classes, names, kinds, images)):
            yield {"__key__": key.format(n=n, c=c, name=name), kind: image, **label(n)}

    cls = lambda n: {"cls": classes[n]}
    nothing = lambda n: {}

    def tar(name, samples, **more):
        path = folder / f"{name}.tar"
        with wds.TarWriter(str(path), mtime=0, **more) as writer:
            for sample in samples:
                writer.write(sample)
        return path

    def shards(name, samples, end="tar", most=6):
        (folder / name).mkdir()
        with wds.ShardWriter(f"{folder}/{name}/faces-%06d.{end}", maxcount=most, verbose=0) as writer:
            for sample in samples:
                writer.write(sample)
        return folder / name

    check("TarWriter, .cls", tar("cls", samples(cls)), by_class)
    check("TarWriter, .cls of text", tar("text", samples(lambda n: {"cls": names[n]})), by_name)
    for key in ["label", "identity"]:
        check(f"TarWriter, {key} in .json", tar(key, samples(lambda n: {"json": {"id": n, key: names[n]}})), by_name)
    check("TarWriter, numbers in .json", tar("numbers", samples(lambda n: {"json": {"label": classes[n]}})), by_class)
    check("TarWriter, .txt", tar("txt", samples(lambda n: {"txt": names[n]})), refused="no image with a person's name")
    txt = tar("txt-folders", samples(lambda n: {"txt": "a face"}, "{name}/{n}"), format="PAX_FORMAT")
    check("TarWriter, .txt, persons' folders", txt, by_name, says=f"passed over {N} members")
    for form in ["GNU_FORMAT", "PAX_FORMAT"]:
        long = f"{'d' * 90}/{{name}}/{'e' * 120}/{'ü' * 90} {{n}}"
        check(f"TarWriter, {form}, long names", tar(form, samples(cls, long), format=form), by_class)
        check(f"TarWriter, {form}, persons' folders", tar(f"{form}-2", samples(nothing, "{name}/{n}"), format=form), by_name)
    check("TarWriter, folder of persons' folders", tar("top", samples(nothing, "./faces/{name}/{n}"), format="PAX_FORMAT"), by_name)
    check("TarWriter, keys with folders, .cls", tar("key-folders", samples(cls, "part-{n}/face")), by_class)
    upper = ({k if k[0] == "_" else k.upper(): str(v) if k == "cls" else v for k, v in s.items()} for s in samples(cls))
    check("TarWriter, extensions in upper case", tar("upper", upper), by_class)
    # Points: WebDataset's key ends at the first, and `b.jpg` is another kind of member than `jpg`.
    dots = lambda key: ({"__key__": key.format(n=n), f"b.{k}": i, "b.cls": c} for n, (c, k, i) in enumerate(zip(classes, kinds, images)))
    check("TarWriter, keys with points", tar("dots", dots("{n}")), by_class, refused="")
    check("TarWriter, keys with folders and points", tar("dots-folders", dots("x/{n}")), by_class, refused="")
    mask = lambda n: {"cls": classes[n], "mask.png": images[1]}
    check("TarWriter, a second picture", tar("masks", samples(mask)), by_class)
    check("TarWriter, a second picture, keys with folders", tar("masks-folders", samples(mask, "x/{n}")), by_class)
    check("TarWriter, one key for all", tar("one-key", samples(cls, "face")), by_class, refused="")
    bad = lambda n: {"json": b'{"label": ' if n == 7 else {"label": names[n]}}
    check("TarWriter, one damaged .json", tar("bad", samples(bad)), by_name[:7] + by_name[8:], rejected=1)

    path = shards("shards", samples(cls))
    assert len(list(path.iterdir())) == 4
    check("ShardWriter, folder", path, by_class)
    check("ShardWriter, glob", f"{path}/faces-*.tar", by_class)
    check("ShardWriter, glob of some", f"{path}/faces-00000[0-1].tar", by_class[:12])
    # What is in the first shard says nothing of the others.
    split = ({**s, "__key__": f"{'train' if n < 12 else 'val'}/{s['__key__']}"} for n, s in enumerate(samples(nothing, "{c}/{n}")))
    check("ShardWriter, train/ and val/", shards("split", split), by_class, refused="")
    many = ({"__key__": f"{'train' if n < 1001 else 'val'}/{n % 5}/{n}", "jpg": images[0]} for n in range(1010))
    wanted = [(str(n % 5), images[0]) for n in range(1010)]
    check("TarWriter, train/ and val/, a thousand in the first", tar("many", many), wanted, refused="")
    deep = shards("deep", samples(nothing, "{c}/{n}/face"), most=4)
    check("ShardWriter, a person each, folders within their folders", deep, by_class, refused="")
    path = shards("gz", samples(cls), "tar.gz")
    assert (path / "faces-000000.tar.gz").read_bytes()[:2] == b"\x1f\x8b"
    for form, source in {"file": path / "faces-000000.tar.gz", "folder": path, "glob": f"{path}/*.tar.gz"}.items():
        check(f"ShardWriter, .tar.gz, {form}", source, refused="unpack")
    check("TarWriter, compressed, named .tar", tar("compressed", samples(cls), compress=True), refused="unpack")
    tar("gz/faces-000009", samples(cls))
    check("folder of .tar.gz and .tar", path, refused="unpack")

    def members(name, pairs, links=()):
        with tarfile.open(folder / f"{name}.tar", "w") as out:
            for member, data in pairs:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
            for member, target in links:
                info = tarfile.TarInfo(member)
                info.type, info.linkname = tarfile.LNKTYPE, target
                out.addfile(info)
        return folder / f"{name}.tar"

    for key in ["", "x/"]:
        pictures = [(f"{key}{n}.{k}", image) for n, (k, image) in enumerate(zip(kinds, images))]
        labels = [(f"{key}{n}.cls", b"%d" % c) for n, c in enumerate(classes)]
        path = members(f"apart{len(key)}", pictures + labels)
        check(f"samples with their members apart, keys {key or 'without folders'}", path, by_class, refused="")
    pictures = [(f"{c}/{n}.{k}", image) for n, (c, k, image) in enumerate(zip(classes, kinds, images))]
    linked = members("links", pictures, [("5/20.jpg", "0/0.jpg")])
    check("a hard link to a picture", linked, by_class, rejected=1)
    with tarfile.open(folder / "cls.tar") as whole:
        ends = [member.offset for member in whole.getmembers()]
    data = (folder / "cls.tar").read_bytes()
    for cut in [ends[1] + 600, len(data) // 2, ends[-1] - 512, ends[-2]]:
        path = folder / f"cut-{cut}.tar"
        path.write_bytes(data[:cut])
        between = ", where a member begins" if cut in ends else ""
        check(f"tar cut off after {cut} bytes{between}", path, refused="cut off")


writers = f"webdataset {wds.__version__}"
try:
    import mxnet
    from mxnet import recordio
except ImportError:
    print("skipped: mxnet")
else:
    writers += f", mxnet {mxnet.__version__}"
    record_io(recordio)
web_dataset()
print(f"{writers}: {checked - len(wrong)} of {checked} as they should be")
sys.exit(bool(wrong))
