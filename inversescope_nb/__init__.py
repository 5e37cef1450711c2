"""Activation inversion for notebooks: what does this activation know?

Pick a token of a prompt and a site inside a language model; see the inputs that the model cannot tell
apart there, each re-run and measured, and hold a hypothesis about them against chance. The method is
InverseScope (Luo, Zhou, Dong, arXiv 2506.07406), made exact where the paper leaves room.

Names are imported on first use (PEP 562), so ``import inversescope_nb`` does not load torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from ._version import __version__

_HOMES = {
    "models": ("LanguageModel", "load_model"),
    "sites": ("Site",),
    "prompts": ("Prompt", "PromptDistribution"),
    "templates": ("Slot", "Template"),
    "features": ("Feature", "feature"),
    "generator": ("Generator", "TrainingConfig", "load_generator", "train_generator"),
    "inversion": ("Inversion", "Verdict", "invert"),
    "rates": ("ConsistencyReport", "consistency", "consistency_of"),
    "bandwidths": ("across_bandwidths",),
    "fixing": ("Fixed", "fixed"),
    "contrasting": ("Contrast", "contrast"),
    "proposals": ("Proposal", "Proposals", "propose"),
    "exact": ("ExactPosterior", "exact_posterior"),
    "fidelities": ("fidelity",),
    "information": ("ChannelBits", "channel_bits", "token_information"),
    "along": ("distances_along",),
    "token_quantities": ("token_bits", "token_changes", "token_norms"),
    "widgets": (
        "Comparison",
        "ConsistencyPanel",
        "InverseScopeWidget",
        "SampleGallery",
        "SiteSweep",
        "TokenPicker",
    ),
    "widgets.chart": ("Chart",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = (
    "activations", "baselines", "causal", "charts", "errors", "exercises", "export", "features", "kernels", "prompts",
    "stores", "tasks",
)  # fmt: skip

__all__ = ["__version__", *sorted(_HOME_OF), *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF and name not in _MODULES:
        value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    elif name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
