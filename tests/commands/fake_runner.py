"""A fake of GitHub's runners: enough of them to run the scripts of our workflows, each job in a fresh clone.

Steps run in order with bash as GitHub calls it. Checkout is the clone, what a step with the id `install` does is there
already, caches and artifacts are directories. As with the real ones, a file comes out of an artifact with another mode
and another time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

WORKFLOWS = Path(__file__).parents[2] / ".github" / "workflows"
THERE_ALREADY = ("actions/checkout@", "actions/setup-python@")


def workflow(name: str) -> dict:
    return yaml.safe_load((WORKFLOWS / name).read_text())


@dataclass
class Result:
    """How a job ended: the name (or script) of the step that failed, what each step printed, the job's outputs."""

    failed: str | None = None
    logs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> str:
        return "\n".join(self.logs.values())


@dataclass
class Runner:
    """Runs the jobs of one workflow file. `home` holds what jobs share: artifacts of the run, caches of all runs."""

    jobs: dict
    home: Path
    run_id: int = 1

    @property
    def artifacts(self) -> Path:
        return self.home / f"artifacts-{self.run_id}"

    def run(self, name: str, clone: Path, values: dict[str, str] | None = None) -> Result:
        """Run one job in a clone. `values` are what expressions stand for besides the usual: `matrix.tasks`, …"""
        temp = clone.parent / f"{clone.name}-temp"
        temp.mkdir()
        known = {
            "runner.temp": str(temp),
            "runner.os": "Linux",
            "github.run_id": str(self.run_id),
            "github.run_attempt": "1",
            **(values or {}),
        }
        job, result = self.jobs[name], Result()
        for step in job["steps"]:
            if step.get("id") == "install" or step.get("uses", "").startswith(THERE_ALREADY):
                continue
            condition = step.get("if", "success()")
            if {"always()": False, "success()": result.failed is not None, "failure()": result.failed is None}[
                condition
            ]:
                continue
            label = step.get("name") or step.get("run") or step["uses"]
            try:
                printed, outputs = self._step(step, clone, temp, known)
            except subprocess.CalledProcessError as error:
                printed, outputs = error.stdout, {}
                result.failed = result.failed or label
            result.logs[label] = printed
            known |= {f"steps.{step.get('id')}.outputs.{key}": text for key, text in outputs.items()}
        result.outputs = {key: _filled(text, known) for key, text in job.get("outputs", {}).items()}
        return result

    def _step(self, step: dict, clone: Path, temp: Path, known: dict[str, str]) -> tuple[str, dict[str, str]]:
        if "run" in step:
            return _script(step, clone, temp, known)
        action = step["uses"].partition("@")[0].removeprefix("actions/")
        given = {key: _filled(text, known) if isinstance(text, str) else text for key, text in step["with"].items()}
        return "", getattr(self, "_" + re.sub(r"\W", "_", action))(clone, given) or {}

    def _cache_restore(self, clone: Path, given: dict) -> dict[str, str]:
        saved = sorted(self.home.glob("cache-*"), key=lambda path: path.stat().st_mtime_ns)
        found = [path for path in saved if path.name.startswith(f"cache-{given['restore-keys']}")]
        if found:
            shutil.copytree(found[-1], clone / given["path"], dirs_exist_ok=True)
        return {"cache-primary-key": given["key"]}

    def _cache_save(self, clone: Path, given: dict) -> None:
        shutil.copytree(clone / given["path"], self.home / f"cache-{given['key']}")

    def _upload_artifact(self, clone: Path, given: dict) -> None:
        source = clone / given["path"]
        if not source.exists():
            assert given["if-no-files-found"] == "ignore", f"there is no {source} to upload"
            return
        target = self.artifacts / given["name"]
        shutil.copytree(source, target)
        for path in target.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path)

    def _download_artifact(self, clone: Path, given: dict) -> None:
        if "name" in given:
            shutil.copytree(self.artifacts / given["name"], clone / given["path"], dirs_exist_ok=True)
        else:
            for path in sorted(self.artifacts.glob(given["pattern"])):
                shutil.copytree(path, clone / given["path"] / path.name)


def _script(step: dict, clone: Path, temp: Path, known: dict[str, str]) -> tuple[str, dict[str, str]]:
    outputs = temp / "outputs"
    outputs.write_text("")
    env = {
        **os.environ,
        **{key: _filled(text, known) for key, text in step.get("env", {}).items()},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(temp),
        "GITHUB_OUTPUT": str(outputs),
        "SLIPWAY_CACHE": str(temp / "downloads"),
    }
    assert "${{" not in step["run"], "an expression in a script is a way in for whoever chooses the text"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=clone, env=env, text=True, check=True, timeout=600,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout, dict(line.split("=", 1) for line in outputs.read_text().splitlines())


def _filled(text: str, known: dict[str, str]) -> str:
    """A text with its `${{ expressions }}` replaced; one that is not known is a mistake of the workflow, or ours."""
    return re.sub(r"\$\{\{\s*(.*?)\s*\}\}", lambda found: known[found[1]], text)
