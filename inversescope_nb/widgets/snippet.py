"""The Python that does what the widget shows.

What the widget was given as an object has no name that code could use: there, the code reads it from where
it was saved, and a comment says so. Everything else runs as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..features import Feature, InputText
from ..loading import PACKAGED_TARGET
from .gallery_rows import Query
from .inputs import SAMPLES, SEARCH_SECONDS, SWEEP_SAMPLES, TARGETS

if TYPE_CHECKING:
    from ..baselines import Metropolis
    from ..generator import Generator
    from ..inversion import Inversion
    from .backend import Backend
    from .consistency_panel import ConsistencyPanel
    from .pick_jobs import Asked
    from .pins import Pin

EVERYTHING = Query()
_YOURS = "path/to/your"
_SHOWN = ["feature", "fcr", "fcr_low", "fcr_high", "fcr_plain"]


def python_code(
    backend: Backend, prompt: str, site: str, position: int, bandwidth: float, n: int, *, quantity: str = "",
    query: Query = EVERYTHING,
) -> str:  # fmt: skip
    """A few lines that reproduce the gallery from the same arguments.

    ``quantity``: what the tokens are shaded by; ``query``: what is listed, and in which order.
    """
    generator = backend.shelf.at_hand(site)
    where = f"site={site!r}, position={position}, bandwidth={bandwidth:g}"
    lines = ["import inversescope_nb as isn", "", _model(backend)]
    shades = _shades(quantity, prompt, site, bandwidth, gen="" if generator is None else ", gen=gen")
    if generator is not None:
        lines += [*_generator(backend, generator), *shades, f"inv = isn.invert(lm, gen, {prompt!r}, {where}, n={n})"]
        return "\n".join([*lines, "print(inv.summary())", *_listed("inv", query)])
    lines += [
        *shades,
        backend.inputs.prompts_code(prompt),
        f"found = isn.baselines.metropolis(lm, prompts, {prompt!r}, {where}, n={n}, seconds={SEARCH_SECONDS:g})",
        "print(found.summary())",
        *_listed("found", query),
        f"# to invert here: gen = isn.train_generator(lm, {site!r}, prompts), then isn.invert(lm, gen, ...)",
    ]
    return "\n".join(lines)


def _listed(name: str, query: Query) -> list[str]:
    """The lines that list what was found, as the gallery does: nearest first, or as it was asked."""
    if query == EVERYTHING:
        return [f'{name}.to_frame().sort_values("d")']
    lines = [f'listed = {name}.to_frame().sort_values("d")']
    if query.inside:
        lines.append('listed = listed[listed["in_ball"]]')
    if query.text:
        how = f"case={query.regex}, regex={query.regex}"
        lines.append(f'listed = listed[listed["text"].str.contains({query.text!r}, {how})]')
    if query.sort == EVERYTHING.sort:
        return [*lines, "listed"]
    columns = 'd=("d", "first"), weight=("weight", "sum"), count=("d", "size")'
    lines.append(f'listed = listed.groupby("text", sort=False).agg({columns})')
    return [*lines, f'listed.sort_values("{query.sort}", ascending=False, kind="stable")']


def _shades(quantity: str, prompt: str, site: str, bandwidth: float, gen: str) -> list[str]:
    """The line that gives the numbers by which the tokens are shaded, where that is not what an inversion says."""
    calls = {
        "norm": f"isn.token_norms(lm, {prompt!r}, {site!r}{gen})",
        "change": f"isn.token_changes(lm, {prompt!r}, {site!r})",
        "bits": f"isn.token_bits(lm, gen, {prompt!r}, site={site!r}, bandwidth={bandwidth:g})",
    }
    return [f"shades = {calls[quantity]}"] if quantity in calls else []


def comparison_code(backend: Backend, first: Pin, second: Pin) -> str:
    """Some lines that reproduce a comparison."""
    lines = ["import inversescope_nb as isn", "", _model(backend), *_generator(backend, first.generator)]
    more, gens = "", ("gen", "gen")
    if second.generator is not first.generator:
        lines += _generator(backend, second.generator, "second_gen")
        more, gens = ", second_gen=second_gen", ("gen", "second_gen")
    for name, pin, gen in zip(("first", "second"), (first, second), gens, strict=True):
        asked = pin.asked
        where = f"site={asked.site!r}, position={asked.position}, bandwidth={asked.bandwidth:g}, n={asked.n}"
        lines.append(f"{name} = isn.invert(lm, {gen}, {asked.prompt!r}, {where})")
    lines += [f"found = isn.contrast(lm, gen, first, second{more})", "print(found.summary())", "found.to_frame()"]
    return "\n".join(lines)


def panel_code(backend: Backend, asked: Asked, panel: ConsistencyPanel, inversion: Inversion | Metropolis) -> str:
    """The lines that give what the consistency panel shows: the rates, and what else was asked for there."""
    generator = backend.shelf.at_hand(asked.site)
    pick = InputText(inversion.text, inversion.tokens, inversion.prompt_ids)
    lines = python_code(backend, asked.prompt, asked.site, asked.position, asked.bandwidth, asked.n).split("\n")
    lines = [line for line in lines if ".to_frame()" not in line and not line.startswith(("#", "print"))]
    lines.insert(1, "from IPython.display import display")
    if generator is None:
        lines.append("inv = found")
    lines += ["", "# what was drawn from P(X), for chance", *backend.inputs.prior_code(asked.prompt, generator)]
    if panel.hypotheses:
        lines += ["", *_features_code("features", panel.hypotheses)]
        lines += [
            "rates = isn.consistency_of(inv, features, prior_texts=prior, permutations=0).to_frame()",
            f"display(rates[{[*_SHOWN, 'chance_prior', 'chance_defined']}])",
        ]
    if panel.proposals is not None:
        lines += ["", *_features_code("ready_made", backend.inputs.features_for(pick))]
        lines += ["ask = None  # the language model that the widget was given"] if panel.asks else []
        model = ", ask=ask" if panel.asks else ""
        lines += [f"proposals = isn.propose(inv, ready_made, prior=prior{model})", "print(proposals)"]
    if generator is None or not panel.hypotheses:
        return "\n".join(lines)
    if any(row["across"] for row in panel.rows):
        how = f"bandwidth={asked.bandwidth:g}, n_targets={TARGETS}, n_samples={SAMPLES}, prior_texts=prior"
        lines += ["", "# across inputs", *backend.inputs.targets_code(pick, generator)]
        lines += [f"across = isn.consistency(lm, gen, targets, [{asked.site!r}], features, {how}).to_frame()"]
        lines += [f"display(across[{[*_SHOWN, 'chance', 'fcr_star', 'p_value']}])"]
    if panel.curves:
        widths = sorted({row["bandwidth"] for row in panel.curves})
        how = f"site={asked.site!r}, n={inversion.n}, bandwidths={widths}, prior_texts=prior"
        lines += ["", f"curves = isn.across_bandwidths(lm, gen, inv.prompt_ids, features, {how}).to_frame()"]
        lines += ["display(isn.Chart(isn.charts.bandwidth_chart(curves)))"]
    return "\n".join(lines)


def sweep_code(backend: Backend, features: Sequence[Feature], inversion: Inversion, n_targets: int) -> str:
    """The lines that give a sweep: its frame, and the heat maps."""
    generator = backend.shelf.at_hand(str(inversion.site))
    pick = InputText(inversion.text, inversion.tokens, inversion.prompt_ids)
    how = f"bandwidth={inversion.bandwidth:g}, n_samples={SWEEP_SAMPLES}, prior_texts=prior"
    lines = [
        "import inversescope_nb as isn",
        "",
        _model(backend),
        *_generator(backend, generator),
        f"picked = {[int(i) for i in inversion.prompt_ids]}  # {str(inversion.text)!r}",
        *backend.inputs.prior_code(str(inversion.text), generator),
        *backend.inputs.targets_code(pick, generator, ids="picked"),
        "",
        *_features_code("features", features),
        f"report = isn.consistency(lm, gen, targets[:{n_targets}], gen.sites, features, {how})",
        "isn.SiteSweep(report.to_frame())",
    ]
    return "\n".join(lines)


def _features_code(name: str, features: Sequence[Feature]) -> list[str]:
    """A list of features; one that was given as an object has no code, and a line says so."""
    lines = [f"{name} = ["]
    for feature in features:
        lines.append(f"    {feature.code}," if feature.code else f"    # put your own feature {feature.name!r} here")
    return [*lines, "]"] if features else [f"{name} = []"]


def _model(backend: Backend) -> str:
    """The line that loads the target model."""
    if backend.source is not None:
        return f"lm = isn.load_model({str(backend.source)!r})"
    place = str(getattr(backend.lm.model, "name_or_path", "") or "")
    if place and Path(place) == PACKAGED_TARGET:
        return "lm = isn.load_model()"
    if place:
        return f"lm = isn.load_model({place!r})  # or the (model, tokenizer) that the widget was given"
    return f'lm = isn.load_model("{_YOURS}/model")  # or the (model, tokenizer) that the widget was given'


def _generator(backend: Backend, generator: Generator, name: str = "gen") -> list[str]:
    """The lines that load the generator, with its P(X) where its file does not hold that."""
    prompts = backend.inputs.live_code(generator.prompts)
    return [f"{name} = {_loaded(backend, generator)}", *([f"{name}.prompts = {prompts}"] if prompts else [])]


def _loaded(backend: Backend, generator: Generator) -> str:
    load, target = ("isn.Generator.from_pretrained", ", target=lm") if generator.shares_target else (
        "isn.load_generator", "")  # fmt: skip
    if backend.shelf.is_packaged(generator):
        return "isn.load_generator()"
    origin = backend.shelf.origin(generator)
    if origin is not None:
        return f"{load}({str(origin)!r}{target})"
    return f'{load}("{_YOURS}/generator"{target})  # saved with generator.save_pretrained(...)'
