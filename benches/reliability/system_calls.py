"""Makes every file-changing system call of a small synthesis crash or fail in turn (strace), then runs it again."""

import re
import shutil

from common import WORK, augment, partial_is_visible, row, synthesis, tree

if shutil.which("strace") is None:
    row("crash at every system call", "skipped: strace is not installed", "all byte-equal", False)
    raise SystemExit
# Calls that change files or make them durable.
CALLS = ["openat", "write", "pwrite64", "rename", "fsync", "mkdir", "unlink", "unlinkat", "rmdir", "ftruncate"]
WRITES = ["write", "pwrite64", "fsync", "rename", "mkdir", "openat"]
whole, out = WORK / "whole", WORK / "out"
arguments = synthesis(out, 1)
augment(*synthesis(whole, 1))
want = tree(whole)


def under_strace(inject=None, path=None):
    options = ["-f", "-qq", "-y", "-o", WORK / "log", "-e", f"trace={','.join(CALLS)}"]
    if inject:
        options += ["-P", path, "-e", f"inject={inject}"]
    # One thread in the pool: calls on a file then come in one order.
    return augment(*arguments, "--threads", 1, check=False, prefix=("strace", *map(str, options)))


shutil.rmtree(out, ignore_errors=True)
under_strace()
# A point is the n-th call of a name on a path.
points, seen = [], {}
for line in (WORK / "log").read_text().splitlines():
    match = re.match(r"\d+ +(\w+)\(", line)
    path = re.search(rf'["<]({re.escape(str(out))}[^">]*)', line)
    changes = match and path and (match[1] != "openat" or "O_CREAT" in line)
    if match and path:
        seen[match[1], path[1]] = seen.get((match[1], path[1]), 0) + 1
    if changes:
        points.append((match[1], path[1], seen[match[1], path[1]]))
crashed = equal = visible = 0
for call, path, at in points:
    shutil.rmtree(out, ignore_errors=True)
    result = under_strace(f"{call}:signal=SIGKILL:when={at}", path)
    crashed += result.returncode != 0
    visible += partial_is_visible(out) if result.returncode != 0 and out.exists() else 0
    augment(*arguments)
    equal += tree(out) == want
row(
    "crash at every file-changing system call",
    f"{len(points)} calls, {crashed} runs killed there: {equal} byte-equal after running again, {visible} showed a partial file or false success",
    "all byte-equal, no partial file visible",
    equal == len(points) and visible == 0,
)
failed = false = equal = 0
faults = [(c, p, a, e) for c, p, a in points if c in WRITES for e in ("ENOSPC", "EIO")]
for call, path, at, error in faults:
    shutil.rmtree(out, ignore_errors=True)
    result = under_strace(f"{call}:error={error}:when={at}", path)
    failed += result.returncode != 0
    # Success is only true with every byte.
    false += result.returncode == 0 and tree(out) != want
    false += out.exists() and partial_is_visible(out)
    augment(*arguments)
    equal += tree(out) == want
row(
    "ENOSPC and EIO at every write-class call",
    f"{len(faults)} faults, {failed} ended the run with an error, {false} false successes or visible partial files, {equal} byte-equal after running again",
    "no false success, no partial file visible, all resume",
    false == 0 and equal == len(faults),
)
