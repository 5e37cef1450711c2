"""The conditional generator: conditioning, control layers, training, and folders that hold one."""

from .config import GeneratorConfig, TrainingConfig
from .generator import Condition, Generator
from .training import train_generator

__all__ = ["Condition", "Generator", "GeneratorConfig", "TrainingConfig", "load_generator", "train_generator"]


def load_generator(path=None, *, revision: str | None = None, device: str = "cpu") -> Generator:
    """A generator from a folder or the Hub; without a path, the packaged model's own.

    Args:
        path: a folder, a name on the Hub, or ``"ioi_heads"``: a second generator of the packaged model, for its heads
            and residual stream on the prompts of one task alone, read at their ends.
        revision: a Hub revision.
        device: where it runs.

    >>> load_generator().prompts.name
    'all tasks'
    """
    from .folder import PACKAGED, PACKAGED_GENERATOR

    path = PACKAGED_GENERATOR if path is None else PACKAGED.get(str(path), path)
    return Generator.from_pretrained(path, revision=revision, device=device)
