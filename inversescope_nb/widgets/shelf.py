"""The generators at hand for one model: given, packaged, in ISN_GENERATORS, or trained by the widget earlier.

A match is the target's fingerprint, its tokenizer and the site. Nothing is ever fetched that was not asked for.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import GeneratorMismatch, ModelLoadError

if TYPE_CHECKING:
    from ..generator import Generator
    from ..models import LanguageModel
    from ..prompts import PromptDistribution

logger = logging.getLogger(__name__)


class Shelf:
    """Generators of one model, in the order in which they are looked through.

    Args:
        lm: the target model.
        given: generators to look through first: objects, folders or repository ids; or one.

    Raises:
        GeneratorMismatch: one that was given is of another model.
        ModelLoadError: one that was given cannot be read.
    """

    def __init__(
        self, lm: LanguageModel, given: Generator | str | Path | Iterable[Generator | str | Path] = ()
    ) -> None:
        self.lm = lm
        self._origins: dict[int, str | Path] = {}
        self._kept: dict[str, tuple[Path, PromptDistribution]] = {}
        self._reading = threading.Lock()
        from ..generator import Generator

        one = isinstance(given, (str, Path, Generator))
        self._generators = [self._given(g) for g in ([given] if one else given)]
        self._generators.extend(self._found())

    @property
    def generators(self) -> tuple[Generator, ...]:
        """All that have been read."""
        return tuple(self._generators)

    @property
    def sites(self) -> set[str]:
        """All sites that one of them inverts."""
        return {site for generator in self._generators for site in generator.sites} | set(self._kept)

    def has(self, site: str) -> bool:
        """Whether one inverts this site, as far as is known without reading it."""
        return site in self.sites

    def at_hand(self, site: str) -> Generator | None:
        """The first that inverts this site, of those that have been read: at once, whatever else runs."""
        return next((g for g in list(self._generators) if site in g.sites), None)

    def find(self, site: str) -> Generator | None:
        """The first that inverts this site; reads it where that was not done yet, which may wait for the model."""
        with self._reading:
            if site in self._kept and self.at_hand(site) is None:
                self._fetch(*self._kept.pop(site))
            return self.at_hand(site)

    def add(self, generator: Generator, origin: Path | None = None) -> None:
        """Put one in front."""
        if origin is not None:
            self._origins[id(generator)] = origin
        self._generators.insert(0, generator)

    def keep(self, folders: Iterable[Path], match: Callable[[str], PromptDistribution | None]) -> None:
        """Have generators at hand whose weights are read only once a site of theirs is asked for.

        Args:
            folders: of generators of this model, the best first.
            match: the P(X) with a fingerprint; a generator for whose P(X) it gives None is passed over.
        """
        from .._files import read_json

        for folder in folders:
            try:
                sites = read_json(folder / "generator.json")["sites"]
                prompts = match(read_json(folder / "run_card.json")["prompts"]["fingerprint"])
            except (ModelLoadError, KeyError) as error:
                logger.info("a generator was passed over: %s", error)
                continue
            if prompts is not None:
                for site in sites:
                    self._kept.setdefault(site, (folder, prompts))

    def _fetch(self, folder: Path, prompts: PromptDistribution) -> None:
        try:
            generator = self._read(folder)
        except (GeneratorMismatch, ModelLoadError) as error:
            logger.info("a generator was passed over: %s", error)
            return
        generator.prompts = prompts  # the same; but what a model writes cannot be read back from a file
        self._generators.append(generator)

    @cached_property
    def _packaged_card(self) -> Any:
        """Run card of the packaged generator."""
        from .._files import read_json
        from ..generator.folder import PACKAGED_GENERATOR

        return read_json(PACKAGED_GENERATOR / "run_card.json")

    def _given(self, generator: Any) -> Generator:
        from ..generator import Generator

        if isinstance(generator, Generator):
            generator.check_target(self.lm)  # one that was asked for and does not fit is an error
            return generator
        return self._read(generator)

    def _read(self, folder: str | Path) -> Generator:
        from ..generator import Generator

        generator = Generator.from_pretrained(folder, target=self.lm)
        self._origins[id(generator)] = folder
        return generator

    def _found(self) -> Iterator[Generator]:
        """The packaged generator and those in the folders of ISN_GENERATORS, as far as they fit this model."""
        from .._files import read_json
        from ..generator.folder import PACKAGED_GENERATOR

        own = self.lm.fingerprint
        folders = [Path(p) for p in os.environ.get("ISN_GENERATORS", "").split(os.pathsep) if p]
        for path in (PACKAGED_GENERATOR, *(p for folder in folders for p in (folder, *sorted(folder.glob("*/"))))):
            try:
                if read_json(path / "generator.json").get("fingerprint") != own:
                    continue  # most do not fit, and their weights need not be read
                if path == PACKAGED_GENERATOR and any(self.is_packaged(g) for g in self._generators):
                    continue
                yield self._read(path)
            except (GeneratorMismatch, ModelLoadError) as error:
                logger.info("a generator was passed over: %s", error)

    def is_packaged(self, generator: Generator) -> bool:
        """Whether `load_generator()` gives this one."""
        try:
            return bool(generator.run_card) and generator.run_card == self._packaged_card
        except ModelLoadError:  # there is none
            return False

    def origin(self, generator: Generator) -> str | Path | None:
        """The folder or repository that a generator was read from, where that is known."""
        return self._origins.get(id(generator))
