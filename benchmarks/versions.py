"""Runs the tests with the oldest and the newest libraries that pyproject.toml admits, and writes the table of them.

    python benchmarks/versions.py --folder FOLDER
    python benchmarks/versions.py --folder FOLDER --only oldest

Each set of requirements gets an environment of its own in FOLDER, by pip: the first two 2.5 GB, with TransformerLens
and sae-lens of their time in them, the others 8 GB, with the oldest torch and with the newest (and TransformerLens);
then the tests run there, and in the first two the browser's, where there is a browser. Half an hour a set. Results go
to benchmarks/results/versions.json when all of them have ended, or not at all; rows of other sets stay.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "versions.json"
TORCH = "2.13.0"
"""The version that has a build for CPUs alone where this was run; any other brings some GB of CUDA."""
LIFTED = {
    "huggingface-hub": "0.34.0",  # transformers 4.56
    "tqdm": "4.66.3",  # datasets 3.0
}
"""Oldest versions that go with the others, of what cannot be as old as its floor, and who asks for them."""
LIFTED_BY_LENSES = LIFTED | {
    "torch": TORCH,  # TransformerLens 2.16 asks for 2.6
    "datasets": "3.1.0",  # sae-lens 6.14
}
"""The same beside TransformerLens and sae-lens."""
LENSES_THEN = ("transformer-lens==2.16.1", "sae-lens==6.14.0")
"""Of the weeks before transformers 4.56."""
KEPT_OLD = ("pyarrow<22", "mistune<3.1")
"""For numpy 1.26 and nbconvert 7.16."""
VIEWERS = ("notebook", "marimo", "nbconvert")
"""Of the requirements for tests, those that show the widget. Other tools of the tests are new in every set."""
TOGETHER = """if True:
    import importlib.metadata, json, platform, sys
    names = sys.argv[1:]
    for lens in ("transformer-lens", "sae-lens"):
        if lens in names:
            __import__(lens.replace("-", "_"))
    import inversescope_nb
    of = importlib.metadata.version
    print(json.dumps({"python": platform.python_version()} | {name: of(name) for name in names}))
"""
PARTS = {
    "tests": ["-n", "2", "--dist", "loadfile", "-m", "not slow and not browser"],
    "browser": ["-m", "browser and not slow"],
}
NO_BROWSER = ("oldest torch", "newest torch")
"""Sets with the same viewers as another."""


def floors() -> dict[str, str]:
    """Name of each library that the package or a notebook of it needs, and the oldest version that is admitted."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *extras["notebook"], *extras["train"], *extras["bench"], *extras["dev"]]
    pairs = dict(requirement.split(">=") for requirement in named if ">=" in requirement)
    tools = {r.partition(">=")[0] for r in extras["dev"]} - set(VIEWERS)
    return {name: floor for name, floor in pairs.items() if name not in tools}


def sets() -> dict[str, list[str]]:
    """Name of each set -> what pip is asked for. Where no version is said, the newest that goes with the rest."""
    then, alone = ([f"{k}=={v}" for k, v in (floors() | lifted).items()] for lifted in (LIFTED_BY_LENSES, LIFTED))
    now = [name for name in floors() if name != "torch"]
    return {
        "oldest": [*then, *LENSES_THEN, *KEPT_OLD],
        "newest": [f"torch=={TORCH}", *now, "transformer-lens", "sae-lens"],
        "oldest torch": [*alone, *KEPT_OLD],
        "newest torch": ["torch", *now, "transformer-lens"],  # sae-lens keeps TransformerLens below 4
    }


def environment(folder: Path, requirements: list[str]) -> str:
    """The Python of an environment with these requirements and this checkout."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    asked = ["--upgrade", *requirements, "--editable", f"{ROOT}[dev]"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--progress-bar", "off", *asked], check=True)
    subprocess.run([python, "-m", "pip", "check"], check=True)
    return python


def versions(python: str, requirements: list[str]) -> dict[str, str]:
    """Of each library that was asked for, once all have been imported in one process with the package."""
    names = [re.match(r"[\w-]+", requirement)[0] for requirement in requirements]
    done = subprocess.run([python, "-c", TOGETHER, *names], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def outcome(python: str, part: str, report: Path) -> dict:
    """How the tests of a part ended: numbers, and the names of those that failed."""
    report.unlink(missing_ok=True)
    usual = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
    command = [python, "-m", "pytest", "-q", *PARTS[part], f"--junitxml={report}"]
    command.append("--ignore=tests/packaging/test_versions.py")  # it reads what is made here
    done = subprocess.run(command, cwd=ROOT, env={**usual, **os.environ})
    if done.returncode not in (0, 1):
        raise SystemExit(f"the tests did not run to their end: pytest said {done.returncode}")
    return ends_of(report)


def ends_of(report: Path) -> dict:
    """What pytest's report says of them."""
    ends = {"passed": 0, "failed": 0, "skipped": 0, "failures": []}
    for case in ET.parse(report).iter("testcase"):
        tags = {child.tag for child in case}
        end = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
        ends[end] += 1
        if end == "failed":
            ends["failures"].append(f"{case.get('classname')}.{case.get('name')}")
    return ends


def table(rows: list[dict]) -> str:
    """The table of benchmarks/README.md."""
    shown = ["python", "torch", "transformers", "anywidget", "transformer-lens", "sae-lens"]
    lines = [["", *shown, *PARTS], ["---"] * (1 + len(shown) + len(PARTS))]
    for row in rows:
        ends = [
            " / ".join(str(row[part][end]) for end in ("passed", "failed", "skipped")) if part in row else ""
            for part in PARTS
        ]
        lines.append([row["set"], *(row["versions"].get(name, "") for name in shown), *ends])
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def main() -> None:
    """Makes the rows that are asked for; the file is replaced once they are all there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the environments are made")
    parser.add_argument("--only", action="append", choices=list(sets()), help="a set (may be repeated)")
    args = parser.parse_args()
    rows = {}
    for name in args.only or sets():
        requirements = sets()[name]
        folder = args.folder.resolve() / name.replace(" ", "_")
        python = environment(folder, requirements)
        about = {"set": name, "date": datetime.date.today().isoformat(), "versions": versions(python, requirements)}
        parts = [part for part in PARTS if part != "browser" or name not in NO_BROWSER]
        rows[name] = about | {part: outcome(python, part, folder / f"{part}.xml") for part in parts}
        print(json.dumps(rows[name], indent=1), flush=True)
    before = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else []
    rows = {row["set"]: row for row in before} | rows
    told = [rows[name] for name in sets() if name in rows]
    RESULT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(table(told))


if __name__ == "__main__":
    main()
