"""What photographs carry besides their pixels, and who may read what is written."""

from common import WORK, augment, plant, row

manifest = WORK / "private.parquet"
plant("private", manifest)
assert manifest.read_bytes().count(b"SECRET-PLACE") >= 64
found, files, open_modes, entries = 0, 0, 0, 0
for kind, encoding in [("parquet", "jpeg"), ("imagefolder", "png")]:
    out = WORK / kind
    augment(
        "--manifest", manifest, "--per-id", 2, "--duration-kimg", "0.1", "--no-judge", "-q", "--cache", WORK / "cache", "--include-real",
        "--format", kind, "--encoding", encoding, "--out", out,
    )  # fmt: skip
    for path in [out, *out.rglob("*"), WORK / "cache", *(WORK / "cache").rglob("*")]:
        entries += 1
        open_modes += path.stat().st_mode & 0o077 != 0
        if path.is_file():
            files += 1
            data = path.read_bytes()
            found += any(mark in data for mark in (b"SECRET-PLACE", b"Exif\0\0", b"eXIf"))
row(
    "Exif, position and comments of photographs",
    f"{found} of {files} written files hold any (64 photographs merged in, two formats)",
    "no EXIF or GPS in any output",
    found == 0,
)
row(
    "modes of files and folders",
    f"{open_modes} of {entries} open to group or others",
    "0600 and 0700",
    open_modes == 0,
)
