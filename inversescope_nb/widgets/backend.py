"""The one place where widgets call the compute side: models, generators, inversion, consistency.

A `Backend` is one target model with the generators at hand for it. Every method that computes runs on
a worker thread and takes the `Job` it runs in, for progress and cancelling.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..errors import BadPrompt, InvalidArgument
from ..features import Feature, InputText
from ..kernels import BANDWIDTHS
from ..verdicts import COARSE
from .inputs import SAMPLES, SEARCH_SECONDS, SWEEP_SAMPLES, TARGETS, Inputs
from .jobs import Job, held
from .shelf import Shelf
from .training import Trainings

if TYPE_CHECKING:
    import pandas as pd

    from ..baselines import Metropolis, TextBank
    from ..contrasting import Contrast
    from ..generator import Generator, TrainingConfig
    from ..inversion import Inversion
    from ..models import LanguageModel
    from ..prompts import PromptDistribution
    from .pins import Pin

LABELS = {
    "resid_pre": "resid pre",
    "attn_out": "attn out",
    "attn_raw": "attn raw",
    "resid_mid": "resid mid",
    "mlp_out": "mlp out",
    "mlp_raw": "mlp raw",
    "resid_post": "resid post",
}


class Backend:
    """One model and its generators, as the widgets see them.

    Args:
        lm: the target model.
        generators: generators to look through first: objects, folders or repository ids.
        prompts: P(X) for training and for neighbour search where there is no generator to say it.
        training: how generators are trained here; None for the usual.
        run_dir: folder that holds the trainings; None for one in this user's cache.
        source: what the model was loaded from, where that is known.
    """

    def __init__(
        self,
        lm: LanguageModel,
        generators: Generator | str | Path | Iterable[Generator | str | Path] = (),
        prompts: PromptDistribution | None = None,
        training: TrainingConfig | None = None,
        run_dir: str | Path | None = None,
        source: str | Path | None = None,
    ) -> None:
        self.lm = lm
        self.inputs = Inputs(lm, prompts)
        self.source = source
        self.trainings = Trainings(lm, training, run_dir)
        self.shelf = Shelf(lm, generators)
        self.shelf.keep(self.trainings.finished(), self.inputs.match)
        self._texts: TextBank | None = None
        """What searches read last: the next one answers from it, and adds to it."""
        self._sweeps: TemporaryDirectory[str] | None = None

    @classmethod
    def open(
        cls,
        model: Any,
        tokenizer: Any,
        generators: Any,
        prompts: PromptDistribution | None,
        training: TrainingConfig | None = None,
        run_dir: str | Path | None = None,
    ) -> Backend:
        """A backend for whatever `InverseScopeWidget` was given as its model."""
        from ..models import LanguageModel, load_model

        lm = model if isinstance(model, LanguageModel) else load_model(model, tokenizer=tokenizer)
        source = model if isinstance(model, (str, Path)) else None
        return cls(lm, generators, prompts, training, run_dir, source)

    # -- the model ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What the model is called."""
        lm = self.lm
        return f"{lm.name} \u00b7 {lm.n_layers} layers \u00b7 {lm.n_heads} heads \u00b7 d_model {lm.d_model}"

    def ids_of(self, prompt: str) -> list[int]:
        """Token ids of one prompt; raises `BadPrompt`."""
        if not prompt.strip():
            raise BadPrompt("the prompt is empty", hint="type at least one word")
        encoded = self.lm.encode(prompt)
        return encoded.token_ids[0, : int(encoded.lengths[0])].tolist()

    def tokens_of(self, prompt: str) -> list[str]:
        """The prompt as one string per token, BOS included."""
        return list(self.lm.token_strings(self.ids_of(prompt)))

    def site(self, spec: Any) -> str:
        """Canonical name of a site in any spelling; raises `UnknownSite`."""
        return self.lm.site(spec).name

    def default_site(self) -> str:
        """The residual stream in the middle of the model, at the nearest layer that has a generator.

        Where there is a choice, one whose variance does not lie along a single direction.
        """
        names = self.lm.sites("blocks.*.hook_resid_post")
        middle = self.lm.n_layers // 2
        ready = [name for name in names if name in self.shelf.sites and self.shelf.find(name)]
        fine = [name for name in ready if self.shelf.find(name).statistics(name).top_share <= COARSE]
        return min(fine or ready or names, key=lambda name: abs(self.lm.site(name).layer - middle))

    def site_map(self) -> dict[str, Any]:
        """What the map of the model draws; see SiteMap in js/src/lib/site_map.ts."""
        kinds: list[dict[str, str]] = []
        head_template = None
        for name in self.lm.sites("blocks.0.*"):
            site = self.lm.site(name)
            template = name.replace("blocks.0.", "blocks.{layer}.", 1)
            if site.head is not None:
                head_template = f"{template.rpartition('.')[0]}.{{head}}"
            else:
                kinds.append({"kind": site.kind, "label": LABELS.get(site.kind, site.kind), "template": template})
        return {
            "n_layers": self.lm.n_layers,
            "n_heads": self.lm.n_heads,
            "kinds": kinds,
            "head_template": head_template,
            "available": sorted(self.shelf.sites),
        }

    def bandwidths(self, site: str) -> tuple[float, float]:
        """The bandwidths that there are at a site: those its generator was trained at, once it was read."""
        generator = self.shelf.at_hand(site)
        return BANDWIDTHS if generator is None else generator.config.bandwidths

    def bound(self, site: str, bandwidth: float) -> dict[str, float]:
        """Bits that an activation of a site can say on average at most; empty where there is no generator to know."""
        generator = self.shelf.at_hand(site)
        if generator is None:
            return {}
        return {"bandwidth": bandwidth, "bits": generator.statistics(site).channel_bits_bound(bandwidth)}

    # -- work -------------------------------------------------------------------------------------

    def invert(
        self, generator: Generator, prompt: str, *, site: str, position: int, bandwidth: float, n: int, job: Job
    ) -> Inversion:
        """`inversescope_nb.invert`, under the model's lock."""
        from ..inversion import invert

        with held(self.lm.lock, job.cancel):
            return invert(
                self.lm,
                generator,
                prompt,
                site=site,
                position=position,
                bandwidth=bandwidth,
                n=n,
                on_progress=job.report,
                cancel=job.cancel,
            )

    def reweighed(self, inversion: Inversion, generator: Generator, bandwidth: float) -> Inversion:
        """The same samples at another bandwidth, at once."""
        bound = generator.statistics(str(inversion.site)).channel_bits_bound(bandwidth)
        return replace(inversion.reweight(bandwidth), bits_bound=bound)

    def token_bits(
        self, generator: Generator, prompt: str, *, site: str, position: int, bandwidth: float, job: Job
    ) -> list[float]:
        """What the activation says about each token of the picked input, in bits: a shading."""
        from ..information import token_information

        with held(self.lm.lock, job.cancel):
            nats = token_information(self.lm, generator, prompt, site=site, position=position, bandwidth=bandwidth)
        return [value / math.log(2) for value in nats]

    def search(self, prompt: str, *, site: str, position: int, bandwidth: float, n: int, job: Job) -> Metropolis:
        """What can be had without a generator: texts read at every token, or chains that walk to the posterior."""
        from ..baselines import TextBank, metropolis

        prompts = self.inputs.prompts_for(prompt)
        kept = self._texts
        if prompts.cuts_anywhere and (kept is None or kept.prompts is not prompts or kept.is_stale):
            self._texts = TextBank(self.lm, prompts)
        with held(self.lm.lock, job.cancel):
            return metropolis(
                self.lm,
                prompts,
                prompt,
                site=site,
                position=position,
                bandwidth=bandwidth,
                n=n,
                seconds=SEARCH_SECONDS,
                texts=self._texts if prompts.cuts_anywhere else None,
                on_progress=job.report,
                cancel=job.cancel,
            )

    def training_offer(self, prompt: str, site: str) -> tuple[str, str]:
        """What is said of training at a site, and what the button that starts it says."""
        prompts, kept = self.inputs.prompts_for(prompt), self.trainings
        folder, done = _short(kept.folder(site, prompts)), kept.steps_done(site, prompts)
        if done:
            return f"{done} of {kept.steps} steps of a training are kept in {folder}.", "Go on with the training"
        return f"One that is trained here is kept in {folder}, also after a Stop.", "Train a generator here"

    def training_seconds(self, prompt: str, site: str, job: Job) -> float:
        """Seconds that `train` would take, or raises what `train` would raise."""
        job.report(0, 0, "timing a training step")
        return self.trainings.seconds_left(site, self.inputs.prompts_for(prompt), job.cancel)

    def train(self, prompt: str, *, site: str, job: Job) -> Generator:
        """Train a generator for this site here, keep it in its folder and at hand; goes on where it was stopped."""
        generator, folder = self.trainings.train(site, self.inputs.prompts_for(prompt), job)
        self.shelf.add(generator, folder)
        return generator

    def consistency(
        self,
        generator: Generator,
        features: Sequence[Feature],
        pick: InputText,
        *,
        site: str,
        bandwidth: float,
        job: Job,
    ) -> pd.DataFrame:
        """The measurement across inputs at one site, as the frame of its report."""
        from ..rates import consistency

        if not features:
            raise InvalidArgument("there is no hypothesis to measure", hint="add one first")
        # Not under the model's lock: every forward pass takes it by itself, and a pick need not wait for all of them.
        report = consistency(
            self.lm,
            generator,
            self.inputs.targets_for(pick, generator),
            [site],
            list(features),
            bandwidth=bandwidth,
            n_targets=TARGETS,
            n_samples=SAMPLES,
            prior_texts=self.inputs.prior(generator.prompts, generator).texts,
            on_progress=job.report,
            cancel=job.cancel,
        )
        return self._alike(report.to_frame(), pick, generator)

    def across_bandwidths(
        self, generator: Generator, features: Sequence[Feature], inversion: Inversion, job: Job
    ) -> pd.DataFrame:
        """The rates of an inversion's input at its own bandwidth and at others, as the frame of their report."""
        from ..bandwidths import across_bandwidths, bandwidths_between

        # Not under the model's lock: every forward pass takes it by itself, and a pick need not wait for all of them.
        report = across_bandwidths(
            self.lm,
            generator,
            inversion.prompt_ids,
            list(features),
            site=inversion.site,
            bandwidths=sorted({*bandwidths_between(*generator.config.bandwidths), inversion.bandwidth}),
            n=inversion.n,
            prior_texts=self.inputs.prior(generator.prompts, generator).texts,
            on_progress=lambda done, total, _bandwidth: job.report(done, total, "inverting"),
            cancel=job.cancel,
        )
        return report.to_frame()

    def sweep(
        self,
        generator: Generator,
        features: Sequence[Feature],
        pick: InputText,
        *,
        bandwidth: float,
        n_targets: int,
        job: Job,
        only_kept: bool = False,
    ) -> pd.DataFrame | None:
        """The same at all sites of a generator, from fewer samples; these are kept, so that a sweep that was stopped
        goes on, and one with other hypotheses takes seconds.

        ``only_kept``: at the sites that are done; None where there are none.
        """
        from .._study import CellStore
        from ..rates import consistency

        prior = self.inputs.prior(generator.prompts, generator).texts
        inputs = self.inputs.targets_for(pick, generator)[:n_targets]
        if self._sweeps is None:
            self._sweeps = TemporaryDirectory(prefix="inversescope-", ignore_cleanup_errors=True)
        folder = Path(self._sweeps.name) / sha256(repr((id(generator), inputs)).encode()).hexdigest()[:16]
        store = CellStore(folder, {})
        sites = [site for site in generator.sites if not only_kept or store.has(site, bandwidth)]
        if not sites:
            return None
        report = consistency(
            self.lm,
            generator,
            inputs,
            sites,
            list(features),
            bandwidth=bandwidth,
            n_samples=SWEEP_SAMPLES,
            prior_texts=prior,
            run_dir=folder,
            on_progress=lambda done, total, _site: job.report(done, total, "inverting"),  # one phase, one time left
            cancel=job.cancel,
        )
        return self._alike(report.to_frame(), pick, generator)

    def _alike(self, frame: pd.DataFrame, pick: InputText, generator: Generator) -> pd.DataFrame:
        """The frame, with what its picked inputs have in common with this one."""
        frame.attrs["alike"] = self.inputs.alike(pick, generator)
        return frame

    def distances(self, inversion: Inversion, token_ids: Sequence[int], job: Job) -> list[float]:
        """The distance at each token of an input, should the activation be read there."""
        from ..along import distances_along

        generator = self.shelf.find(str(inversion.site))
        if generator is None:
            raise InvalidArgument(self.no_generator_message(str(inversion.site)))
        with held(self.lm.lock, job.cancel):
            return distances_along(self.lm, generator, inversion, token_ids).tolist()

    def contrast(self, first: Pin, second: Pin, job: Job) -> Contrast:
        """`inversescope_nb.contrast` of two pinned inversions, under the model's lock."""
        from ..contrasting import contrast

        with held(self.lm.lock, job.cancel):
            return contrast(
                self.lm, first.generator, first.inversion, second.inversion, second_gen=second.generator,
                on_progress=job.report, cancel=job.cancel,
            )  # fmt: skip

    def tidy(self) -> None:
        """Give memory that nobody uses any more back to the device."""
        if self.lm.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    def no_generator_message(self, site: str) -> str:
        """One sentence for a site that no generator at hand inverts."""
        return f"No generator at hand inverts {site} of {self.lm.name}."


def _short(path: Path) -> str:
    """A path with ``~`` for this user's home."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)
