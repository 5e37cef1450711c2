"""InverseScopeWidget: pick a token, invert its activation, see the inputs, test a hypothesis.

A thin face on the public functions: the parts (`TokenPicker`, `SampleGallery`, `ConsistencyPanel`) are
widgets of their own, this one wires them, and the code it shows does the same in three lines. Message
handlers and observers only enqueue; threads behind them compute, and the newest request of a kind wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets as t

from .._arguments import sample_count
from .._files import write_result
from ..errors import InvalidArgument, suggest
from ..features import Feature
from ..kernels import BANDWIDTHS, check_bandwidth
from .backend import SAMPLES, TARGETS, Backend
from .consistency_panel import ConsistencyPanel
from .gallery_rows import Query
from .inputs import SWEEP_SAMPLES
from .jobs import Job
from .map_values import FEATURE, map_choices, map_values
from .messages import IDLE, STATIC, Callbacks, checked, guarded, handles
from .pick_jobs import PickJobs
from .pinning import Pinning
from .sample_gallery import SampleGallery
from .shading import PICKED, Shading
from .site_sweep import SiteSweep
from .snippet import python_code
from .token_picker import TokenPicker

if TYPE_CHECKING:
    import pandas as pd

    from .._wording import Ask
    from ..baselines import Metropolis
    from ..generator import Generator, TrainingConfig
    from ..inversion import Inversion
    from ..prompts import Prompt, PromptDistribution


class InverseScopeWidget(PickJobs):
    """Activation inversion of one model, in a notebook.

    Args:
        model: None for the packaged model; a name or path; a `LanguageModel`; a Hugging Face model.
        tokenizer: its tokenizer, where ``model`` is a Hugging Face model that does not say which.
        generators: one or several generators (objects, folders or repository ids) to look through before the
            packaged ones and those in the folders of the environment variable ``ISN_GENERATORS``.
        prompt: the prompt to begin with; empty for an example.
        site: where the activation is read, in any spelling; None for the residual stream at
            the middle of the model.
        position: the picked token, from the end when negative.
        bandwidth: the kernel's width in standardised units, in the range that the site's generator was trained
            at (0.02 to 1 where there is none); None: what is usual at the first site.
        n: samples per inversion.
        prompts: P(X) for training and neighbour search at sites without a generator.
        training: how "Train a generator here" trains; None for the usual.
        ask: a language model, as a function from a prompt to its answer, that words hypotheses beside those read off
            the samples when some are proposed; all are tested alike (see :func:`inversescope_nb.propose`).
        run_dir: folder that holds such trainings, each in a folder of its own: they go on there after a Stop, and
            the generators that came out are found the next time. None: ``~/.cache/inversescope_nb``.

    Raises:
        UnknownSite, BadPrompt, ModelLoadError, GeneratorMismatch: as the functions it calls.

    >>> import inversescope_nb as isn
    >>> w = isn.InverseScopeWidget()          # show it by making it the last line of a cell
    >>> w.invert().wait()                     # what a click on a token does
    >>> w.inversion.summary()
    """

    _esm = STATIC / "scope.js"

    prompt = t.Unicode("").tag(sync=True)
    position = t.Int(-1).tag(sync=True)
    site = t.Unicode("").tag(sync=True)
    bandwidth = t.Float(0.1).tag(sync=True)
    bandwidth_range = t.List(t.Float(), default_value=list(BANDWIDTHS)).tag(sync=True)
    """Least and largest bandwidth at the site."""
    bound = t.Dict().tag(sync=True)
    """``{bandwidth, bits}``: what an activation of the site can say on average at most; empty without a generator."""
    came_from = t.Unicode("").tag(sync=True)
    """The sweep's: the site that was left for one clicked there."""
    n = t.Int(64).tag(sync=True)
    model_name = t.Unicode("").tag(sync=True)
    site_map = t.Dict().tag(sync=True)
    code = t.Unicode("").tag(sync=True)
    frozen = t.Bool(False).tag(sync=True)
    map_by = t.Unicode("").tag(sync=True)
    """What colours the map of the model, of :attr:`map_choices`."""
    map_choices = t.List(t.Dict(), default_value=map_choices(None)).tag(sync=True)
    map_values = t.Dict().tag(sync=True)
    """The number of each site that colours it; see `map_values`."""
    sweeping = t.Dict(dict(IDLE)).tag(sync=True)
    """How far the sweep is, for the map that it will colour."""
    map_note = t.Unicode("").tag(sync=True)
    """What the colours are of, where that is something else than what is picked."""
    picker = anywidget.WidgetTrait().tag(sync=True)
    gallery = anywidget.WidgetTrait().tag(sync=True)
    panel = anywidget.WidgetTrait().tag(sync=True)
    sweep = anywidget.WidgetTrait().tag(sync=True)
    pins = anywidget.WidgetTrait().tag(sync=True)
    comparison = anywidget.WidgetTrait().tag(sync=True)

    def __init__(
        self,
        model: Any = None,
        tokenizer: Any = None,
        *,
        generators: Generator | str | Path | Iterable[Generator | str | Path] = (),
        prompt: str = "",
        site: Any = None,
        position: int = -1,
        bandwidth: float | None = None,
        n: int = 64,
        prompts: PromptDistribution | None = None,
        training: TrainingConfig | None = None,
        ask: Ask | None = None,
        run_dir: str | Path | None = None,
        **unknown: Any,
    ) -> None:
        self._reject_unknown(unknown)
        backend = Backend.open(model, tokenizer, generators, prompts, training, run_dir)
        site = backend.default_site() if site is None else backend.site(site)
        generator = backend.shelf.find(site)
        if bandwidth is None:
            bandwidth = 0.1 if generator is None else generator.default_bandwidth(site)
        examples = backend.inputs.examples(generator)
        if not prompt and examples:
            first = min((each[0] for each in examples.values()), key=lambda example: len(example.text))  # easy to read
            prompt = first.text
            position = backend.inputs.position_of(first, generator) if position == -1 else position
        super().__init__(backend, prompt=prompt, site=site, bandwidth=bandwidth, n=n, model_name=backend.name)
        try:
            self._make_parts(backend, prompt, position, examples, ask)
        except BaseException:
            self.close()  # else ipywidgets would keep it, and with it the model
            raise

    def _make_parts(
        self, backend: Backend, prompt: str, position: int, examples: dict[str, list[Prompt]], ask: Ask | None
    ) -> None:
        self._picks = Callbacks(self)
        texts = {label: [example.text for example in each] for label, each in examples.items()}
        self.picker = TokenPicker(prompt, tokenize=backend.tokens_of, position=position, examples=texts)
        self.gallery = SampleGallery(
            read=backend.distances, label=lambda text: self.panel.labels_of(text), worker=self.worker
        )
        self.panel = ConsistencyPanel(
            measure=self._measure,
            measure_label=f"the measurement proper: up to {TARGETS} inputs like this one, {SAMPLES} samples each",
            across=self._across,
            ask=ask,
            code=self._panel_code,
            worker=self.worker,
            background=self.background,
        )
        self.sweep = SiteSweep(
            sweep=self._sweep,
            kept=partial(self._sweep, only_kept=True),
            code=self._sweep_code,
            samples=SWEEP_SAMPLES,
            background=self.background,
        )
        self.pinning = Pinning(self, backend)
        self.pins, self.comparison = self.pinning.pins, self.pinning.comparison
        self.shading = Shading(self, self.picker, backend)
        self.picker.on_stop(self.shading.worker.stop)
        self.position = position
        self.site_map = backend.site_map()
        self._connect()
        self._refresh_site()

    def _connect(self) -> None:
        t.link((self, "position"), (self.picker, "position"))
        self.picker.observe(self._typed, names=["text"])
        self.picker.on_pick(self._picked)
        for part in (self.picker, self.panel, self.gallery, self.sweep, self.pins, self.comparison):
            part.on_error(self._part_failed)
        self.panel.observe(self._refresh_picture, names=["rows"])
        self.panel.observe(self._tested, names=["rows"])
        self.sweep.site = self.site
        self.sweep.on_site(lambda site: setattr(self, "site", site))
        self.observe(lambda change: setattr(self.sweep, "site", change["new"]), names=["site"])
        self.sweep.on_show(self._swept)
        self.sweep.observe(self._colour_by_feature, names=["feature"])
        t.dlink((self.sweep, "stale"), (self, "map_note"))
        t.dlink((self.sweep, "came_from"), (self, "came_from"))
        t.dlink((self.sweep, "status"), (self, "sweeping"))
        self.picker.observe(self._refresh_stale, names=["text"])
        self.picker.observe(self._refresh_code, names=["quantity"])
        self.gallery.observe(self._refresh_code, names=["query"])
        self.observe(self._changed, names=["prompt", "position", "site", "bandwidth", "n"])

    def _tested(self, _change: Any) -> None:
        """A sweep is of the hypotheses that say something of the picked input."""
        if self.sweep.inversion is not None and self.panel.inversion is not self.sweep.inversion:
            return  # the panel is just being shown the next one, and tells of it then
        names = {row["name"] for row in self.panel.rows if row["label"] is not None}
        defined = [feature for feature in self.panel.hypotheses if feature.name in names]
        self.sweep.test(defined, left_out=len(self.panel.hypotheses) - len(defined))

    def _part_failed(self, error: BaseException) -> None:
        self._tell(error)

    # -- for Python ----------------------------------------------------------------------------

    @property
    def lm(self) -> Any:
        """The target model."""
        return self._backend.lm

    @property
    def inversion(self) -> Inversion | Metropolis | None:
        """The inversion now shown."""
        return self._inversion

    @property
    def generator(self) -> Generator | None:
        """The generator for the site now picked."""
        return self._backend.shelf.find(self.site)

    def on_pick(self, callback: Callable[[int], Any], remove: bool = False) -> None:
        """Call ``callback(position)`` when a token is picked."""
        self._picks.register(callback, remove)

    def on_inversion(self, callback: Callable[[Inversion], Any], remove: bool = False) -> None:
        """Call ``callback(inversion)`` when new samples are shown; on the worker's thread."""
        self._inversions.register(callback, remove)

    def invert(self) -> Job:
        """Start inverting the picked activation; ``.wait()`` on the job waits for the gallery.

        Raises (from ``wait``):
            InverseScopeError: what went wrong; it also stands in the widget.
        """
        self._live = True
        asked = self._asked = self._now()
        return self._submit("invert", lambda job: self._invert(job, asked), "inverting")

    def stop(self) -> None:
        """Stop what runs, trainings and measurements too, and drop what waits."""
        self._stop_inverting()
        self._stop_training()
        self.shading.worker.stop()
        self.panel.stop()
        self.sweep.stop()
        self.comparison.worker.stop()

    def close(self) -> None:
        """Stop what runs, and take the widget and its parts off the page."""
        for part in (self.picker, self.gallery, self.panel, self.sweep, self.pins, self.comparison):
            if part is not None:
                part.close()
        super().close()

    def add_hypothesis(self, feature: Feature) -> None:
        """Put a hypothesis under test in the panel."""
        self.panel.add(feature)

    def to_html(self, path: str | Path | None = None) -> str:
        """What is shown, as one HTML file that works offline; written to ``path`` if given."""
        from ..export import page

        html = page(self)
        if path is not None:
            write_result(path, html)
        return html

    def _picture(self) -> str:
        from ..export import fragment

        return fragment(self)

    # -- traits ----------------------------------------------------------------------------------

    @t.validate("prompt")
    @checked
    def _valid_prompt(self, proposal: dict[str, Any]) -> str:
        self._backend.ids_of(proposal["value"])
        return proposal["value"]

    @t.validate("position")
    @checked
    def _valid_position(self, proposal: dict[str, Any]) -> int:
        if self.picker is not None:  # while the parts are made, the picker itself checks
            self.picker.check_position(proposal["value"])
        return proposal["value"]

    @t.validate("site")
    @checked
    def _valid_site(self, proposal: dict[str, Any]) -> str:
        return self._backend.site(proposal["value"])

    @t.validate("bandwidth")
    @checked
    def _valid_bandwidth(self, proposal: dict[str, Any]) -> float:
        return check_bandwidth(proposal["value"], self._backend.bandwidths(self.site))

    @t.validate("map_by")
    @checked
    def _valid_map_by(self, proposal: dict[str, Any]) -> str:
        names = [choice["name"] for choice in self.map_choices]
        if proposal["value"] not in names:
            raise InvalidArgument(
                f"the map cannot be coloured by {proposal['value']!r}.{suggest(proposal['value'], names)}",
                hint=f"allowed: {', '.join(map(repr, names))}",
            )
        return proposal["value"]

    @t.observe("map_by")
    @guarded
    def _colour_map(self, _change: dict[str, Any]) -> None:
        self.map_values = self.map_colours(self.map_by)

    @guarded
    def _colour_by_feature(self, change: dict[str, Any]) -> None:
        name = FEATURE + change["new"]
        if any(choice["name"] == name for choice in self.map_choices):
            self.map_by = name

    def map_colours(self, by: str) -> dict[str, Any]:
        """:attr:`map_values`, were the map coloured by another of :attr:`map_choices`."""
        found = map_values(self.sweep.frame, by)
        return found and {**found, "where": self.sweep.where}

    @t.validate("n")
    @checked
    def _valid_n(self, proposal: dict[str, Any]) -> int:
        return sample_count(proposal["value"])

    @guarded
    def _typed(self, _change: dict[str, Any]) -> None:
        if self.picker.accepted == self.picker.text:  # else the picker says what is wrong, and the last prompt stays
            self.prompt = self.picker.text

    @guarded
    def _changed(self, change: dict[str, Any]) -> None:
        if change["name"] == "prompt":
            self.picker.text = self.prompt
        if change["name"] in ("position", "site"):
            self._live = True
        self._refresh_site()
        self._refresh_stale()
        if change["name"] in ("prompt", "site", "bandwidth") and self.picker.quantity != PICKED:
            self.shading.refresh()
        if self._live and not self._held_back:
            self.invert()

    @guarded
    def _picked(self, position: int) -> None:
        if self._now() != self._asked or self.error is not None:
            self.invert()
        self._picks(position)

    def _swept(self, frame: pd.DataFrame) -> None:
        """A sweep is there: the map of the model is coloured by it."""
        choices = map_choices(frame)
        names = [choice["name"] for choice in choices]
        by = self.map_by if self.map_by in names[1:] else names[1]
        with self.hold_sync():
            self.map_choices, self.map_by = choices, by
            self.map_values = self.map_colours(by)

    def _refresh_site(self) -> None:
        """What follows from the site and its generator: the bandwidths there are, the bound on bits, the code."""
        low, high = self._backend.bandwidths(self.site)
        self.bandwidth_range = [low, high]
        self.bandwidth = min(max(self.bandwidth, low), high)
        self.bound = self._backend.bound(self.site, self.bandwidth)
        self.shading.offer()
        self._refresh_code()

    def _refresh_code(self, _change: Any = None) -> None:
        where = (self.prompt, self.site, self.picker.index, self.bandwidth, self.n)
        query = Query(**self.gallery.query)
        self.code = python_code(self._backend, *where, quantity=self.picker.quantity, query=query)

    # -- requests ------------------------------------------------------------------------------------

    @handles("begin")
    def _begin(self) -> None:
        """The first view of the widget is on the page: what is picked is inverted, if that takes no training."""
        if self._inversion is None and not self._live and self._backend.shelf.has(self.site):
            self.invert()

    @handles("invert")
    def _ask_invert(self) -> None:
        self.invert()

    @handles("stop")
    def _stop_inverting(self) -> None:
        with self._turn:
            self._stopping(self.worker.stop())

    @handles("stop sweep")
    def _stop_sweep(self) -> None:
        self.sweep.stop()

    @handles("html")
    def _ask_html(self) -> str:
        return self.to_html()
