"""Runs every script of this folder and writes their rows into docs/reliability.md.

usage: benches/reliability/run.py [SCRIPT ..]   (names without .py; rows of scripts that are not run are kept)
"""

import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs/reliability.md"
BEGIN, END = "<!-- rows: written by benches/reliability/run.py -->\n", "<!-- end of rows -->\n"
HEAD = "| property | measured | target | met | script |\n|---|---|---|---|---|\n"

subprocess.run(["cargo", "build", "--release"], check=True, cwd=HERE.parents[1])
scripts = sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("common", "run"))
chosen = sys.argv[1:] or scripts
before, rest = PAGE.read_text().split(BEGIN)
old, after = rest.split(END)
rows = {}
for line in old.splitlines()[2:]:
    rows.setdefault(line.rsplit("| ", 1)[1].strip(" |`"), []).append(line)
for script in chosen:
    begin = time.monotonic()
    result = subprocess.run([sys.executable, HERE / f"{script}.py"], stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(f"{script}: exit code {result.returncode}")
    print(f"{script} ({time.monotonic() - begin:.0f} s)\n{result.stdout}", flush=True)
    rows[script] = ["| " + " | ".join([*line.split("\t"), f"`{script}`"]) + " |" for line in result.stdout.splitlines()]
    lines = [line for name in sorted(rows) for line in rows[name]]
    PAGE.write_text(before + BEGIN + HEAD + "\n".join(lines) + "\n" + END + after)
