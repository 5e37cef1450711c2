"""The conditional generator: conditioning, control layers, training, and folders that hold one."""

from .config import GeneratorConfig, TrainingConfig
from .generator import Condition, Generator
from .training import train_generator

__all__ = ["Condition", "Generator", "GeneratorConfig", "TrainingConfig", "load_generator", "train_generator"]


def load_generator(path=None, *, revision: str | None = None, device: str = "cpu") -> Generator:
    """A generator from a folder or the Hub; without a path, the packaged model's own.

    >>> load_generator().prompts.name
    'all tasks'
    """
    from .folder import PACKAGED_GENERATOR

    return Generator.from_pretrained(PACKAGED_GENERATOR if path is None else path, revision=revision, device=device)
