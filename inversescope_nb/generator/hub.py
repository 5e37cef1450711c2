"""Sharing a generator on the Hugging Face Hub: its folder, with a card that people can read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ModelLoadError

if TYPE_CHECKING:
    from .generator import Generator


def push(generator: Generator, repo_id: str, *, private: bool, dtype: torch.dtype | None, **options: Any) -> str:
    """Creates the repository where there is none, uploads the folder, and gives its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "generator"
        generator.save_pretrained(folder, dtype=dtype)
        (folder / "README.md").write_text(card_text(generator, repo_id), encoding="utf-8")
        api = HfApi()
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo_id, folder_path=folder, **options))
        except (OSError, HfHubHTTPError, HFValidationError) as e:
            raise ModelLoadError(
                f"cannot upload to {repo_id!r}: {str(e).splitlines()[0]}",
                hint="check the name (user/name), the connection, and your login: `hf auth login`",
            ) from e


def card_text(generator: Generator, repo_id: str) -> str:
    """The repository's README: what it inverts, how it was made, how to use it."""
    card = generator.run_card
    target = card.get("target", {}).get("name", "its target")
    sites = ", ".join(f"`{site}`" for site in generator.sites[:6]) + (", ..." if len(generator.sites) > 6 else "")
    history = card.get("history") or [{}]
    facts = {
        "target model": target,
        "target's fingerprint": generator.fingerprint,
        "sites": f"{len(generator.sites)}: {sites}",
        "P(X)": f"{generator.prompts.name}, cut at {generator.prompts.cut}",
        "kernel": f"{generator.kernel.metric}, {generator.kernel.shape}",
        "bandwidths": " to ".join(f"{e:g}" for e in generator.config.bandwidths),
        "examples seen": f"{card['examples_seen']:,}" if "examples_seen" in card else "unknown",
        "held out, nats an input": f"{history[-1].get('nll', float('nan')):.2f} with its activation, "
        f"{history[-1].get('nll_prior', float('nan')):.2f} without",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return (
        "---\nlibrary_name: inversescope_nb\ntags:\n- activation-inversion\n- interpretability\n---\n\n"
        f"# Generator of activation inversions for {target}\n\n"
        "Proposes inputs that the target cannot tell from a picked one at a site (InverseScope, arXiv 2506.07406)."
        f"\n\n| | |\n|---|---|\n{table}\n\n"
        "```python\nimport inversescope_nb as isn\n\n"
        'lm = isn.load_model("...")  # the very model it was made for\n'
        f'gen = isn.Generator.from_pretrained("{repo_id}", target=lm)\n```\n'
    )
