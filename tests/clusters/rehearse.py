"""Does what the templates of pipelines/ say, on this machine: their own steps, in their order, on a drawn manifest, and compares the dataset
with the main job's, byte for byte.

usage: python tests/clusters/rehearse.py github|gitlab|kubernetes AUGMENT       needs requirements.txt beside it

Only what such a service itself does is imitated, as far as the templates use it: machines that begin empty, artifacts (without rights, on GitHub
without hidden files unless asked for), caches, expressions, a Job's failure policy. What is unknown here is an error.
"""

import collections
import contextlib
import fnmatch
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETS = 3
OPTIONS = "--per-id 4 --no-judge --duration-kimg 0.05"
EVALUATED = ("set-000", "set-002")
EVALUATION = "--seeds 1 --arms existing --set recipe.steps=4"
# One thread: nothing here is large, and other tests run beside it.
ENV = {**{k: v for k, v in os.environ.items() if not k.startswith("AUGMENT_")}, "AUGMENT_THREADS": "1"}


def need(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"FAILED: {what}")


def draw(augment: str, path: pathlib.Path) -> None:
    """Drawn persons in SETS identity sets, and other persons to test on."""
    size = ["--identities", "12", "--sets", str(SETS), "--per-id", "6", "--image-size", "32"]
    subprocess.run([augment, "demo", "--out", path, *size, "-q"], check=True, stdout=subprocess.DEVNULL)


def fingerprint(out: pathlib.Path) -> str:
    """Hash of names and bytes of all files that the summary lists, and of the summary."""
    summary = json.loads((out / "_SUCCESS.json").read_text())
    records = [entry["path"] for entry in summary.get("commits", [])]
    files = [file["path"] for record in records for file in json.loads((out / record).read_text())["files"]]
    h = hashlib.sha256()
    for name in sorted({"_SUCCESS.json", *records, *files, *(entry["path"] for entry in summary["files"])}):
        h.update(name.encode() + b"\0" + hashlib.sha256((out / name).read_bytes()).digest())
    return h.hexdigest()


class Place:
    """One machine at a time, whose folder is always the same, as it is on a service's machines; and what outlives them."""

    def __init__(self, folder: pathlib.Path, augment: str) -> None:
        self.folder, self.augment = folder, augment
        self.machine, self.kept = folder / "machine", folder / "kept"
        self.kept.mkdir()
        draw(augment, folder / "ids.parquet")
        self.checkout()
        main_job = ["--manifest", "ids.parquet", *OPTIONS.split(), "--cache", folder / "main-cache", "--out", "synthesized", "-q"]
        subprocess.run([augment, *main_job], cwd=self.machine, check=True, stdout=subprocess.DEVNULL, env=ENV)
        self.wanted = fingerprint(self.machine / "synthesized")

    def checkout(self) -> None:
        shutil.rmtree(self.machine, ignore_errors=True)
        shutil.copytree(ROOT / "pipelines", self.machine / "pipelines")
        shutil.copy(self.folder / "ids.parquet", self.machine)

    def run(self, script: str, env: dict[str, str], shell: tuple[str, ...] = ("bash", "-e", "-c")) -> int:
        return subprocess.run([*shell, script], check=False, cwd=self.machine, env={**ENV, **env}, stdout=sys.stderr).returncode


# GitHub


class Flow:
    """The workflow, as far as it has come."""

    def __init__(self, place: Place, gain: str) -> None:
        self.place = place
        self.text = yaml.safe_load((ROOT / "pipelines/github/augment.yml").read_text())
        self.env = {
            **self.text["env"],
            "OPTIONS": OPTIONS,
            "EVALUATION": EVALUATION,
            "EVALUATED": " ".join(EVALUATED),
            "GAIN": gain,
            "MACHINES": "2",
        }
        self.known: dict[str, str] = {"github.run_id": "1", "runner.os": "Linux"}
        self.caches: dict[str, pathlib.Path] = {}
        self.artifacts: dict[str, pathlib.Path] = {}
        self.results: dict[str, bool] = {}
        self.summary = place.kept / "summary.md"

    def value(self, expression: str) -> str:
        if match := re.fullmatch(r"hashFiles\((.*)\)", expression):
            h = hashlib.sha256()
            for pattern in re.findall(r"'([^']*)'", match[1]):
                for path in sorted(self.place.machine.glob(pattern)):
                    h.update(path.read_bytes() if path.is_file() else b"")
            return h.hexdigest()
        need(expression in self.known, f"nothing is known of {expression}")
        return self.known[expression]

    def fill(self, text: Any) -> str:
        return re.sub(r"\$\{\{\s*(.*?)\s*\}\}", lambda m: self.value(m[1]), "true" if text is True else str(text))

    def wanted(self, condition: str | None, failed: bool) -> bool:
        if condition is None:
            return not failed
        if condition == "always()":
            return True
        match = re.fullmatch(r"([\w.-]+) != 'true'", condition)
        need(match is not None, f"condition {condition}")
        return not failed and self.known.get(match[1]) != "true"

    def use(self, action: str, given: dict[str, Any], step: str) -> None:
        given = {k: self.fill(v) for k, v in given.items()}
        machine = self.place.machine
        name, _, _ = action.partition("@")
        if name == "actions/checkout":
            self.place.checkout()
        elif name in ("actions/cache", "actions/cache/restore"):
            prefixes = [given["key"], *given.get("restore-keys", "").split()]
            found = next((k for p in prefixes for k in reversed(self.caches) if k.startswith(p)), None)
            self.known[f"steps.{step}.outputs.cache-hit"] = "true" if found == given["key"] else "false"
            if found:
                (machine / given["path"]).parent.mkdir(parents=True, exist_ok=True)
                copy(self.caches[found], machine / given["path"])
        elif name == "actions/cache/save":
            if given["key"] not in self.caches and (machine / given["path"]).exists():
                self.caches[given["key"]] = copy(machine / given["path"], self.place.kept / f"cache-{len(self.caches)}")
        elif name == "actions/upload-artifact":
            self.upload(given)
        elif name == "actions/download-artifact":
            names = fnmatch.filter(self.artifacts, given.get("name") or given["pattern"])
            need(bool(names), f"no artifact {given}")
            need(len(names) == 1 or given.get("merge-multiple") == "true", "artifacts of one pattern are not merged")
            for artifact in names:
                shutil.copytree(self.artifacts[artifact], machine / given.get("path", "."), dirs_exist_ok=True)
        else:
            need(False, f"action {action}")

    def upload(self, given: dict[str, str]) -> None:
        machine = self.place.machine
        paths = [path for p in given["path"].split() for path in sorted(machine.glob(p))]
        need(given["name"] not in self.artifacts or given.get("overwrite") == "true", f"artifact {given['name']} is there")
        base = paths[0] if len(paths) == 1 and paths[0].is_dir() else pathlib.Path(os.path.commonpath([p.parent for p in paths]))
        target = self.place.kept / f"artifact-{given['name']}"
        shutil.rmtree(target, ignore_errors=True)
        for path in [f for p in paths for f in ([p] if p.is_file() else p.rglob("*")) if f.is_file()]:
            within = path.relative_to(base)
            if given.get("include-hidden-files") != "true" and any(part.startswith(".") for part in within.parts):
                continue
            (target / within).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / within)  # Rights are lost, as they are there.
        self.artifacts[given["name"]] = target

    def job(self, name: str, job: dict[str, Any]) -> bool:
        shutil.rmtree(self.place.machine, ignore_errors=True)
        self.place.machine.mkdir()
        failed = False
        for number, step in enumerate(job["steps"]):
            label = step.get("id", str(number))
            if not self.wanted(step.get("if"), failed):
                continue
            if "uses" in step:
                self.use(step["uses"], step.get("with", {}), label)
                continue
            output = self.place.folder / "output"
            output.write_text("")
            env = {**self.env, **{k: self.fill(v) for k, v in step.get("env", {}).items()}}
            env |= {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(self.summary), "PAUSE": "1"}
            code = self.place.run(self.fill(step["run"]), env)
            print(f"{name}: step {label}: exit code {code}", file=sys.stderr)
            failed |= code != 0
            for line in output.read_text().splitlines():
                key, _, value = line.partition("=")
                self.known[f"steps.{label}.outputs.{key}"] = value
        for key, expression in job.get("outputs", {}).items():
            self.known[f"needs.{name}.outputs.{key}"] = self.fill(expression)
        return not failed

    def go(self) -> None:
        # The program is there already, as it is after the first night.
        self.place.checkout()
        key = self.fill(self.text["jobs"]["plan"]["steps"][1]["with"]["key"])
        self.caches[key] = copy(pathlib.Path(self.place.augment), self.place.kept / "program")
        for name, job in self.text["jobs"].items():
            needs = job.get("needs", [])
            if not all(self.results[n] for n in ([needs] if isinstance(needs, str) else needs)):
                self.results[name] = False
                continue
            entries = [{}]
            if "strategy" in job:
                ((axis, expression),) = job["strategy"]["matrix"].items()
                source = re.fullmatch(r"\$\{\{ fromJSON\((.*)\) \}\}", expression)
                entries = [{f"matrix.{axis}": v} for v in json.loads(self.value(source[1]))]
            good = []
            for index, entry in enumerate(entries):
                self.known |= {**entry, "strategy.job-index": str(index)}
                good.append(self.job(name, job))
            self.results[name] = all(good)


def copy(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)
    return target


def github(place: Place) -> None:
    flow = Flow(place, "-100")
    flow.go()
    need(all(flow.results.values()), f"{flow.results}")
    need(fingerprint(flow.artifacts["synthesized"]) == place.wanted, "the dataset is not the main job's")
    need(len([n for n in flow.artifacts if n.startswith("job-shards-")]) == 2, f"{list(flow.artifacts)}: two machines")
    need(sum(key.startswith("models-") for key in flow.caches) == 2, f"{list(flow.caches)}: a model cache for each machine")
    for name in EVALUATED:
        need((flow.artifacts["evaluation"] / name / "report.html").stat().st_size > 0, f"no report of {name}")
        need(f"identity set {name}" in flow.summary.read_text(), f"no summary of {name}")
    # The gate: nothing gains so much.
    flow.env["GAIN"] = "100"
    flow.summary.unlink()
    flow.artifacts.pop("evaluation")
    need(not flow.job("evaluate", flow.text["jobs"]["evaluate"]), "the gate let everything through")
    need(flow.summary.stat().st_size > 0 and "evaluation" in flow.artifacts, "the gate closed without a report")


# GitLab


def gitlab(place: Place) -> None:
    text = yaml.safe_load((ROOT / "pipelines/gitlab/.gitlab-ci.yml").read_text())
    stored: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
    programs = place.folder / "bin"
    programs.mkdir()
    copy(pathlib.Path(place.augment), programs / "augment")

    def job(name: str, gain: str) -> list[int]:
        own, codes = text[name], []
        count = 2 if own.get("parallel") else 1
        for index in range(1, count + 1):
            place.checkout()
            before = text["stages"][: text["stages"].index(own["stage"])]
            for earlier in own.get("needs", [n for n in text if isinstance(text[n], dict) and text[n].get("stage") in before]):
                for artifact in stored[earlier]:
                    shutil.copytree(artifact, place.machine, dirs_exist_ok=True)
            env = {
                **text["variables"],
                **own.get("variables", {}),
                "OPTIONS": OPTIONS,
                "EVALUATION": EVALUATION,
                "EVALUATED": " ".join(EVALUATED),
                "GAIN": gain,
                "PAUSE": "1",
            }
            env |= {"CI_NODE_INDEX": str(index), "CI_NODE_TOTAL": str(count), "PATH": f"{programs}:{ENV['PATH']}"}
            codes.append(place.run("\n".join(own["script"]), env, ("bash", "-eo", "pipefail", "-c")))
            print(f"{name} {index}/{count}: exit code {codes[-1]}", file=sys.stderr)
            target = place.kept / f"{name}-{index}-{len(stored[name])}"
            for path in [path for pattern in own["artifacts"]["paths"] for path in place.machine.glob(pattern)]:
                kept = target / path.relative_to(place.machine)
                kept.parent.mkdir(parents=True, exist_ok=True)
                copy(path, kept)
            stored[name].append(target)
        return codes

    for name in ("plan", "shards", "commit", "evaluate"):
        need(not any(job(name, "-100")), f"{name} failed")
    need(fingerprint(stored["commit"][0] / "synthesized") == place.wanted, "the dataset is not the main job's")
    summary = (stored["evaluate"][0] / "evaluation/summary.md").read_text()
    need(all(f"identity set {name}" in summary for name in EVALUATED), "no summary")
    need(job("evaluate", "100") == [9], "the gate let everything through")
    reports = [stored["evaluate"][1] / "evaluation" / name / "report.html" for name in EVALUATED]
    need(all(report.stat().st_size > 0 for report in reports), "the gate closed without a report")


# Kubernetes


def kubernetes(place: Place) -> None:
    folder, programs = place.machine, place.folder / "bin"
    programs.mkdir()
    copy(pathlib.Path(place.augment), programs / "augment")
    place.checkout()
    templates = {}
    for name in ("plan", "job", "commit"):
        text = (ROOT / f"pipelines/kubernetes/{name}.yaml").read_text().replace("/data", str(folder)).replace("sleep 60", "sleep 1")
        text = text.replace(f"{folder}/ids-augmented", "synthesized").replace("--per-id 50", OPTIONS)
        templates[name] = yaml.safe_load(text.replace(f"--manifest {folder}/ids.parquet", "--manifest ids.parquet"))["spec"]
    attempts: dict[int | None, list[int]] = collections.defaultdict(list)

    def start(name: str, index: int | None) -> subprocess.Popen:
        (container,) = templates[name]["template"]["spec"]["containers"]
        env = {e["name"]: e["value"] for e in container["env"] if "value" in e}
        env |= {"PATH": f"{programs}:{ENV['PATH']}", "JOB_COMPLETION_INDEX": str(index)}
        with (place.folder / f"{name}.log").open("w") as out:
            return subprocess.Popen([*container["command"], *container["args"]], cwd=folder, env={**ENV, **env}, stdout=out)

    def action(name: str, code: int) -> str:
        for rule in templates[name]["podFailurePolicy"]["rules"]:
            need(rule["action"] in ("FailJob", "FailIndex", "Ignore", "Count"), f"action {rule['action']}")
            codes = rule.get("onExitCodes")
            need(codes is None or (codes["operator"] == "In" and codes["values"] == sorted(set(codes["values"]))), f"rule {rule}")
            if codes and code in codes["values"]:
                return rule["action"]
        return "Count"

    def settle(name: str, index: int | None, blow: float | None = None) -> str:
        counted = 0
        while True:
            process = start(name, index)
            if blow is not None:
                threading.Timer(blow, process.send_signal, [signal.SIGTERM]).start()
                blow = None
            code = process.wait()
            attempts[index].append(code)
            if code == 0:
                return "done"
            what = action(name, code)
            counted += what == "Count"
            if what.startswith("Fail") or counted > templates[name].get("backoffLimitPerIndex", templates[name].get("backoffLimit")):
                return f"failed with {code}"
            time.sleep(0.5)

    need(settle("plan", None) == "done", "plan")
    plan = [json.loads(line) for line in (place.folder / "plan.log").read_text().splitlines() if line.startswith("{")][-1]
    committing = threading.Thread(target=lambda: results.append(settle("commit", -1)), daemon=True)
    results: list[str] = []
    committing.start()
    # The last index first; one of them is asked to stop, as where a node is needed for something else.
    for shard in reversed(plan["shards"]):
        number = shard["shard"]
        said = settle("job", number, 0.2 if number == 0 else None)
        need(said == "done", f"shard {number}: {said}")
    need(143 in attempts[0], f"shard 0 was not stopped: {attempts[0]}")
    need(settle("job", len(plan["shards"])) == "failed with 2", "an index without a shard")
    committing.join(200)
    need(results == ["done"], f"commit: {results}")
    need(fingerprint(folder / "synthesized") == place.wanted, "the dataset is not the main job's")


@contextlib.contextmanager
def place(augment: str) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="augment-rehearsal-") as name:
        yield Place(pathlib.Path(name).resolve(), str(pathlib.Path(augment).resolve()))


if __name__ == "__main__":
    what = {"github": github, "gitlab": gitlab, "kubernetes": kubernetes}[sys.argv[1]]
    with place(sys.argv[2]) as here:
        what(here)
    print(f"{sys.argv[1]}: as the main job")
