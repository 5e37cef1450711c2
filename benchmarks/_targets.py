"""The target of a benchmark: a listed set of the packaged model, or any model with a file of all its inputs."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from _sets import ALL_SETS

import inversescope_nb as isn
from inversescope_nb.exact import ActivationTable, activation_table

SITE = "blocks.1.hook_resid_post"
"""Where a benchmark looks, if it is not told."""


def arguments(parser: argparse.ArgumentParser, *, one_site: bool = True) -> None:
    """The options that name a target; `one_site`: its place too."""
    parser.add_argument("--model", help="folder or Hub name (default: the packaged model)")
    inputs = parser.add_mutually_exclusive_group()
    inputs.add_argument(
        "--set", choices=ALL_SETS, default="sums", help="all inputs: the packaged model's, or the sorter's"
    )
    inputs.add_argument("--prompts", type=Path, help="all inputs of any target, one a line")
    if one_site:
        parser.add_argument("--site", default=SITE)


def are_sums(args: argparse.Namespace) -> bool:
    """Whether the inputs are all sums."""
    return args.prompts is None and args.set == "sums"


def load(args: argparse.Namespace, site: str) -> tuple[isn.LanguageModel, isn.PromptDistribution, ActivationTable]:
    """The target, P(X), and every input's activation at the site."""
    lm = isn.load_model(args.model)
    prompts = (
        ALL_SETS[args.set]() if args.prompts is None else isn.PromptDistribution.from_file(args.prompts, cut="end")
    )
    table = activation_table(lm, prompts, site, progress=False)
    print(f"{lm.name}, {table.site}, {len(table.inputs):,} inputs, {torch.get_num_threads()} threads", flush=True)
    return lm, prompts, table
