"""Makes images again from their own rows, and looks for the mark in files of both formats."""

import json

from common import WORK, augment, model, row, synthesis

MARK = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
equal = images = marked = 0
for encoding in ("jpeg", "png"):
    for latent in ("prior", "fitted", "posterior"):
        out = WORK / f"{encoding}-{latent}"
        extra = ["--format", "imagefolder", "--encoding", encoding, "--latent", latent, "--new-identities", 4, "--mix", 2]
        augment(*synthesis(out, 3, 50, *extra))
        result = augment("synthesize", "--model", model(), "--regenerate", out, "-q", "--json")
        equal += json.loads(result.stdout)["equal"]
        files = list(out.glob("imgs/*/*"))
        images += len(files)
        marked += sum(MARK in f.read_bytes() for f in files)
row("images made again from their rows", f"{equal} of {images} byte-equal", "100 of 100", equal == images and images >= 100)
row("machine-readable mark", f"{marked} of {images} images (JPEG and PNG)", "every image, every format", marked == images)
