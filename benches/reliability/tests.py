"""Rows that the tests themselves measure: each test goes through the cases that its row counts."""

import re
import subprocess

from common import ROOT, row


def passed(target, *names):
    """Whether these tests of `tests/TARGET.rs` passed, all of them."""
    command = ["cargo", "test", "--release", "--test", target, "--", "--exact", *names]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    ran = re.search(r"(\d+) passed; 0 failed", result.stdout)
    return result.returncode == 0 and ran is not None and int(ran[1]) == len(names)


stopped = passed("training", "divergence_stops_the_run_and_keeps_the_last_good_state")
row(
    "NaN in weights during training",
    f"100 places in the four networks: {'all seen in a loss of the same step, nothing saved over the good checkpoint' if stopped else 'its test fails'}",
    "100 places: stops within one step, never saves a non-finite tensor",
    stopped,
)
right = passed("decode", "all_eight_orientations_are_turned_upright", "all_colour_forms_become_rgb", "cut_off_images_are_refused")
row(
    "pictures are decoded right",
    f"8 EXIF orientations in two formats and 31 forms of colour and sampling: {'all right; half pictures refused' if right else 'a test fails'}",
    "8 orientations, 24 colour variants, no half-decoded image accepted",
    right,
)
