"""Synthesizes onto small file systems of 20 sizes, then onto the same with room."""

import os
import subprocess

from common import WORK, augment, partial_is_visible, row, synthesis, tree

whole = WORK / "whole"
augment(*synthesis(whole, 10, 64))
want = tree(whole)
size = sum(p.stat().st_size for p in whole.rglob("*") if p.is_file())
mount = WORK / "small"
mount.mkdir()


def mounted(options):
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", mount], capture_output=True).returncode == 0


if os.geteuid() != 0 or not mounted("size=1m"):
    row("full disk", "skipped: a tmpfs cannot be mounted here", "no false success, resumes", False)
    raise SystemExit
subprocess.run(["umount", mount], check=True)
failed = false = equal = 0
for i in range(20):
    mounted(f"size={int(size * (0.05 + 0.05 * i)) // 4096 * 4096 + 4096}")
    try:
        out = mount / "out"
        result = augment(*synthesis(out, 10, 64), check=False)
        failed += result.returncode == 75
        false += (result.returncode == 0) != ((out / "_SUCCESS.json").exists() and tree(out) == want)
        false += result.returncode != 0 and out.exists() and partial_is_visible(out)
        subprocess.run(["mount", "-o", "remount,size=64m", mount], check=True)
        augment(*synthesis(out, 10, 64))
        equal += tree(out) == want
    finally:
        subprocess.run(["umount", mount], check=True)
row(
    "full disk, 20 sizes of tmpfs",
    f"{failed} runs ended with exit code 75, {false} false successes or visible partial files, {equal} of 20 byte-equal once there was room",
    "no false success, no partial file visible, all resume",
    false == 0 and equal == 20 and failed > 0,
)
