"""Times PyTorch on the work of one benchmark and prints one JSON object.

usage: peer.py CONFIG_TOML train|synthesize|recognise[-bf16] STEPS [DEVICE]   (on `cuda` also -tf32)
"""

import json
import resource
import sys
import time
import tomllib

start = time.monotonic()
import torch  # noqa: E402  (its import is part of the time to the first step)

from networks import CvaeGan  # noqa: E402
from recogniser import Recogniser  # noqa: E402

CLASSES, THREADS, SYNTHESIS_BATCH = 100, 2, 64
config_path, (work, *ways), steps = sys.argv[1], sys.argv[2].split("-"), int(sys.argv[3])
device = sys.argv[4] if len(sys.argv) > 4 else "cpu"
with open(config_path, "rb") as f:
    config = tomllib.load(f)
torch.set_num_threads(THREADS)
torch.manual_seed(0)
torch.set_default_device(device)
torch.backends.cudnn.benchmark = True
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = "tf32" in ways
model = (Recogniser if "recogniser" in config else CvaeGan)(config, CLASSES)
side = config["image_size"]


def images(n):
    return torch.empty(n, 3, side, side).uniform_(-1, 1).to(memory_format=torch.channels_last)


if work == "synthesize":
    batch, z = SYNTHESIS_BATCH, config["model"]["latent_dim"]
    model.averaged.eval()

    def step():
        with torch.inference_mode():
            model.averaged(torch.randn(batch, z), torch.randint(CLASSES, (batch,)), "eval").permute(0, 2, 3, 1).cpu().numpy()

elif work == "recognise":
    batch = config["recipe"]["batch_size"]

    def step():
        model.step(images(batch), torch.randint(CLASSES, (batch,)), "bf16" in ways)

else:
    batch, z = config["train"]["batch_size"], config["model"]["latent_dim"]

    def step():
        labels, fakes = torch.randint(CLASSES, (2, batch))
        noise = torch.randn(2, batch, z)
        model.step(images(batch), labels, fakes, noise[0], noise[1], "bf16" in ways)


step()
first = time.monotonic() - start
step()
begin = time.monotonic()
for _ in range(steps):
    step()
elapsed = time.monotonic() - begin
print(
    json.dumps(
        {
            "version": torch.__version__,
            "images_per_s": steps * batch / elapsed,
            "first_step_s": first,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "parameters": model.parameter_counts(),
        }
    )
)
