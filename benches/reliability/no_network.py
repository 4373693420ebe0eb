"""The main job, watched for sockets, on a machine without a network."""

import re
import shutil

from common import DEMO, WORK, augment, row

trace = WORK / "trace"
watched = ["strace", "-f", "-qq", "-e", "trace=%network", "-o", str(trace)]
alone = ["unshare", "-rn"] if shutil.which("unshare") else []
job = ["--manifest", DEMO, "--per-id", 2, "--duration-kimg", "0.1", "-q", "--cache", WORK / "cache", "--out", WORK / "out"]
augment(*job, prefix=[*alone, *watched])
calls = re.findall(r"\b(\w+)\(.*(AF_INET6?|AF_NETLINK)", trace.read_text())
row(
    "network in the main job",
    f"{len(calls)} sockets or connections{', without any network interface' if alone else ''}; "
    f"{len(trace.read_text().splitlines())} other calls of this kind",
    "no network socket",
    not calls,
)
