"""Where benchmarks leave what they found: benchmarks/results/NAME.json and NAME.svg.

A run that is given no name is kept as `latest_...`, which git ignores, so that a short one overwrites no long one's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import torch

RESULTS = Path(__file__).parent / "results"


def name_argument(parser: argparse.ArgumentParser, usual: str) -> None:
    """Adds `--name`."""
    parser.add_argument("--name", default=f"latest_{usual}", help="of the files in benchmarks/results")


def processor() -> str:
    """What the processor calls itself."""
    with suppress(OSError):  # not Linux
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _named(value: Any) -> Any:
    if isinstance(value, list):
        return [_named(v) for v in value]
    is_path = isinstance(value, Path) or (
        isinstance(value, str) and "/" in value and (value[0] in "./~" or Path(value).exists())
    )
    return Path(value).name if is_path else value


def write(
    name: str, tables: Mapping[str, pd.DataFrame], chart: alt.TopLevelMixin | None = None, *,
    arguments: Mapping[str, Any], **about: Any,
) -> None:  # fmt: skip
    """Tables as lists of rows, with what they were made with; of a path only its last part."""
    RESULTS.mkdir(exist_ok=True)
    card = {
        **about,
        "arguments": {k: _named(v) for k, v in arguments.items()},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        **{key: json.loads(table.to_json(orient="records", double_precision=6)) for key, table in tables.items()},
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    written = f"benchmarks/results/{name}.json"
    if chart is not None and importlib.util.find_spec("vl_convert"):
        chart.properties(padding=24).save(RESULTS / f"{name}.svg")  # fonts differ from those it is laid out with
        written += " and .svg"
    print(f"wrote {written}")
