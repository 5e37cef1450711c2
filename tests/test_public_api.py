"""The public names: lazily imported, in whatever order they are first used; what is given to them is checked first."""

from __future__ import annotations

import math
import subprocess
import sys
import threading

import pytest
import torch
from small import open_gates

import inversescope_nb as isn
from inversescope_nb import _progress
from inversescope_nb.errors import BadPrompt, Cancelled, InvalidArgument, InverseScopeError
from inversescope_nb.features import Feature
from inversescope_nb.generator.building import build_generator


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_does_not_load_torch() -> None:
    assert run("import sys, inversescope_nb; print('torch' in sys.modules)") == "False"


@pytest.mark.parametrize("name", [n for n in isn.__all__ if n != "__version__"])
def test_every_public_name_exists(name: str) -> None:
    assert getattr(isn, name) is not None
    assert name in dir(isn)


def test_functions_stay_functions_when_their_modules_were_imported_first() -> None:
    code = (
        "import importlib, pkgutil, types, inversescope_nb as isn\n"
        "for m in pkgutil.iter_modules(isn.__path__):\n"
        "    if m.name != '__main__': importlib.import_module('inversescope_nb.' + m.name)\n"
        "print([n for n in isn._HOME_OF if isinstance(getattr(isn, n), types.ModuleType)])"
    )
    assert run(code) == "[]"


def test_unknown_name_raises() -> None:
    with pytest.raises(AttributeError, match="no attribute 'invret'"):
        isn.invret  # noqa: B018


# -- what is given ---------------------------------------------------------------------------------

SITE = "blocks.1.hook_resid_post"
PICK = "the cat"
CAT = Feature("cat", lambda text: "cat" in text)


@pytest.fixture(scope="module")
def prompts() -> isn.PromptDistribution:
    return isn.PromptDistribution.from_texts(["the cat is in the park", "a dog is in the park"], cut="end")


@pytest.fixture(scope="module")
def gen(lm, prompts) -> isn.Generator:
    config = isn.TrainingConfig(width=16, n_tokens=2, n_blocks=1, n_heads=2, statistics_samples=8, held_out=8)
    return open_gates(build_generator(lm, [SITE], prompts, config))


def study(lm, gen, targets=(PICK,), sites=SITE, features=CAT, **more):
    return isn.consistency(lm, gen, targets, sites, features, n_samples=4, permutations=0, prior_texts=["the"], **more)


MISTAKES = {
    "invert, no generator": (lambda lm, gen, p: isn.invert(lm, None, PICK, site=SITE), "gen is a NoneType"),
    "invert, a path": (lambda lm, gen, p: isn.invert(lm, "folder", PICK, site=SITE), "gen is a str"),
    "invert, a name": (lambda lm, gen, p: isn.invert("gpt2", gen, PICK, site=SITE), "lm is a str, not a LanguageModel"),
    "invert, swapped": (lambda lm, gen, p: isn.invert(gen, lm, PICK, site=SITE), "lm is a Generator"),
    "invert, seed": (lambda lm, gen, p: isn.invert(lm, gen, PICK, site=SITE, seed="a"), "seed='a'"),
    "invert, bank": (lambda lm, gen, p: isn.invert(lm, gen, PICK, site=SITE, bank=1.5), "bank=1.5"),
    "invert, noise": (lambda lm, gen, p: isn.invert(lm, gen, PICK, site=SITE, noise_seed="a"), "noise_seed='a'"),
    "invert, prior": (lambda lm, gen, p: isn.invert(lm, gen, PICK, site=SITE, prior=["a"]), "prior is a list"),
    "tokens": (lambda lm, gen, p: isn.token_information(lm, None, PICK, site=SITE), "gen is a NoneType"),
    "channel, n": (
        lambda lm, gen, p: isn.channel_bits(lm, gen, SITE, n="a"),
        "n='a' must be a whole number",
    ),
    "channel, prompts": (lambda lm, gen, p: isn.channel_bits(lm, gen, SITE, prompts=["a"]), "prompts is a list"),
    "study, features": (lambda lm, gen, p: study(lm, gen, features="subject"), "'subject' is no feature"),
    "study, a list": (lambda lm, gen, p: study(lm, gen, features=["subject"]), "'subject' is no feature"),
    "study, none": (lambda lm, gen, p: study(lm, gen, features=None), "None is no feature"),
    "study, within": (lambda lm, gen, p: study(lm, gen, within="template"), "'template' is no feature"),
    "study, targets": (lambda lm, gen, p: study(lm, gen, targets=None), "targets is a NoneType"),
    "study, a target": (lambda lm, gen, p: study(lm, gen, targets=[None]), "cannot be None"),
    "study, groups": (lambda lm, gen, p: study(lm, gen, group_by=5), "group_by=5 groups nothing"),
    "study, group": (lambda lm, gen, p: study(lm, gen, group_by=lambda prompt: []), "group"),
    "study, position": (lambda lm, gen, p: study(lm, gen, position=1.5), "position=1.5 must be a whole number"),
    "study, outside": (lambda lm, gen, p: study(lm, gen, position=7), "position 7 is outside target 0 of 3 tokens"),
    "study, slot": (lambda lm, gen, p: study(lm, gen, slot=5), "no slot 5"),
    "study, model": (lambda lm, gen, p: study("gpt2", gen), "lm is a str"),
    "study, generator": (lambda lm, gen, p: study(lm, None), "gen is a NoneType"),
    "study, sites": (lambda lm, gen, p: study(lm, gen, sites=None), "NoneType"),
    "study, seed": (lambda lm, gen, p: study(lm, gen, seed=-1), "seed=-1"),
    "study, bandwidth": (lambda lm, gen, p: study(lm, gen, bandwidth="wide"), "bandwidth='wide'"),
    "rates, no inversion": (lambda lm, gen, p: isn.consistency_of(5, CAT), "a int is no inversion"),
    "rates, none": (lambda lm, gen, p: isn.consistency_of([], CAT), "no inversion was given"),
    "exact, prompts": (lambda lm, gen, p: isn.exact_posterior(lm, ["a"], SITE, PICK, 0.1), "prompts is a list"),
    "exact, a task": (lambda lm, gen, p: isn.exact_posterior(lm, isn.tasks.ioi(), SITE, PICK, 0.1), "task.prompts"),
    "exact, kernel": (
        lambda lm, gen, p: isn.exact_posterior(lm, p, SITE, PICK, 0.1, kernel="cosine"),
        "kernel is a str",
    ),
    "exact, moments": (
        lambda lm, gen, p: isn.exact_posterior(lm, p, SITE, PICK, 0.1, statistics=3),
        "is a int",
    ),
    "exact, limit": (lambda lm, gen, p: isn.exact_posterior(lm, p, SITE, PICK, 0.1, limit="a"), "limit='a'"),
    "contrast, a text": (lambda lm, gen, p: isn.contrast(lm, gen, PICK, PICK), "a str is no inversion"),
    "near, prompts": (lambda lm, gen, p: isn.baselines.neighbours(lm, ["a"], PICK, site=SITE), "prompts is a list"),
    "near, model": (lambda lm, gen, p: isn.baselines.neighbours("gpt2", p, PICK, site=SITE), "lm is a str"),
    "near, kernel": (lambda lm, gen, p: isn.baselines.neighbours(lm, p, PICK, site=SITE, kernel="cosine"), "kernel is"),
    "sample": (lambda lm, gen, p: p.sample(-1, seed=0), "n=-1 must be a whole number of at least 0"),
    "draw": (lambda lm, gen, p: p.draw(-1, lm, seed=0), "n=-1 must be a whole number of at least 0"),
    "draw, a half": (lambda lm, gen, p: p.draw(1.5, lm, seed=0), "n=1.5"),
    "activations, sites": (lambda lm, gen, p: lm.activations(PICK, None), "NoneType"),
    "activations, position": (
        lambda lm, gen, p: lm.activations(PICK, SITE, "a"),
        "position='a' must be a whole number",
    ),
    "activations, batch": (lambda lm, gen, p: lm.activations(PICK, SITE, batch_size="a"), "batch_size='a'"),
    "texts": (lambda lm, gen, p: isn.PromptDistribution.from_texts(None), "texts"),
    "texts, of numbers": (lambda lm, gen, p: isn.PromptDistribution.from_texts([5]), "no text"),
    "templates": (lambda lm, gen, p: isn.PromptDistribution.from_templates(5), "templates"),
    "template": (lambda lm, gen, p: isn.PromptDistribution.from_templates([5]), "template"),
    "slots": (lambda lm, gen, p: isn.PromptDistribution.from_templates(["{A}"], {"A": 5}), "'A'"),
    "model's": (lambda lm, gen, p: isn.PromptDistribution.from_model("gpt2"), "lm is a str"),
    "mixture": (lambda lm, gen, p: isn.PromptDistribution.mixture(["a"]), "is a str"),
    "specification": (lambda lm, gen, p: isn.PromptDistribution.from_spec(None), "NoneType"),
    "limit": (lambda lm, gen, p: p.inputs(lm, limit="a"), "limit='a' must be a whole number"),
    "draw, model": (lambda lm, gen, p: p.draw(1, "gpt2", seed=0), "lm is a str"),
    "probability, model": (lambda lm, gen, p: p.log_prob([1], "gpt2"), "lm is a str"),
    "weights": (lambda lm, gen, p: isn.PromptDistribution.mixture([p, p], [1, "a"]), "weights (1, 'a')"),
    "no weights": (lambda lm, gen, p: isn.PromptDistribution.mixture([p, p], 5), "weights is a int"),
    "slot values": (lambda lm, gen, p: isn.PromptDistribution.from_templates(["{A}"], 5), "slots is a int"),
    "template slots": (lambda lm, gen, p: isn.Template("{A}", ["A"]), "Template('{A}', ['A'])"),
    "template, a number": (lambda lm, gen, p: isn.Template("{A}", 5), "Template('{A}', 5)"),
    "template weight": (
        lambda lm, gen, p: isn.PromptDistribution.from_templates([isn.Template("a", (), weight="b")]),
        "weight > 0",
    ),
    "seed, too large": (lambda lm, gen, p: isn.invert(lm, gen, PICK, site=SITE, seed=2**70), "too large"),
    "study, run_dir": (lambda lm, gen, p: study(lm, gen, run_dir=5), "run_dir is a int"),
    "sites": (lambda lm, gen, p: lm.sites(5), "sites(5"),
    "tokenizer": (lambda lm, gen, p: isn.load_model(lm.model, tokenizer=5), "a int is no tokenizer"),
    "pair": (lambda lm, gen, p: isn.load_model((lm.model,)), "a tuple of 1"),
    "dtype": (lambda lm, gen, p: isn.load_model(dtype="foo"), "foo"),
    "device": (lambda lm, gen, p: isn.load_generator(device="foo"), "device='foo' cannot be used"),
    "save": (lambda lm, gen, p: gen.save_pretrained(5), "path is a int"),
    "token": (lambda lm, gen, p: isn.features.token_at("a"), "position='a' must be a whole number"),
    "regex": (lambda lm, gen, p: isn.features.regex(5), "no regular expression"),
    "slot": (lambda lm, gen, p: isn.features.slot("ioi", "subject"), "prompts is a str"),
    "generator": (lambda lm, gen, p: isn.load_generator(5), "int"),
    "target": (lambda lm, gen, p: isn.Generator.from_pretrained("user/x", target="gpt2"), "target is a str"),
    "file": (lambda lm, gen, p: isn.PromptDistribution.from_file(None), "NoneType"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_argument_is_named_with_what_to_give_instead(lm, gen, prompts, mistake) -> None:
    call, says = MISTAKES[mistake]
    with pytest.raises(InverseScopeError) as raised:
        call(lm, gen, prompts)
    assert says in str(raised.value)
    assert raised.value.hint


@pytest.mark.parametrize(
    "call",
    [
        lambda lm, gen, p, text: lm.encode(text),
        lambda lm, gen, p, text: lm.encode([text]),
        lambda lm, gen, p, text: isn.invert(lm, gen, text, site=SITE),
        lambda lm, gen, p, text: isn.token_information(lm, gen, text, site=SITE),
        lambda lm, gen, p, text: isn.baselines.neighbours(lm, p, text, site=SITE),
        lambda lm, gen, p, text: study(lm, gen, targets=text),
    ],
)
@pytest.mark.parametrize("blank", ["", " ", " \n\t"])
def test_a_blank_prompt_is_empty_wherever_it_is_given(lm, gen, prompts, call, blank) -> None:
    with pytest.raises(BadPrompt, match="the prompt is empty"):
        call(lm, gen, prompts, blank)


@pytest.mark.parametrize("n", [0, -1, 1.5, "a", None, True, math.nan, torch.tensor(0.5)])
def test_a_number_that_cannot_be_is_refused_in_the_same_words_everywhere(lm, gen, prompts, n) -> None:
    for name, call in (
        ("n", lambda: isn.invert(lm, gen, PICK, site=SITE, n=n)),
        ("n_samples", lambda: isn.consistency(lm, gen, [PICK], SITE, CAT, n_samples=n)),
        ("n_targets", lambda: isn.consistency(lm, gen, [PICK], SITE, CAT, n_targets=n)),
        ("batch_size", lambda: lm.activations(PICK, SITE, batch_size=n if n is not None else 0)),
    ):
        with pytest.raises(InvalidArgument, match=rf"^{name}=.* must be a whole number of at least 1") as raised:
            call()
        assert raised.value.hint


def _quiet(lm, gen) -> isn.Inversion:
    return isn.invert(lm, gen, PICK, site=SITE, n=4, progress=False)


WORK = {
    "inverting": lambda lm, gen, p, **how: isn.invert(lm, gen, PICK, site=SITE, n=4, **how),
    "consistency": lambda lm, gen, p, **how: study(lm, gen, **how),
    "neighbours": lambda lm, gen, p, **how: isn.baselines.neighbours(lm, p, PICK, site=SITE, bank=4, **how),
    "channel bits": lambda lm, gen, p, **how: isn.channel_bits(lm, gen, SITE, n=4, **how),
    "contrast": lambda lm, gen, p, **how: isn.contrast(lm, gen, *[_quiet(lm, gen)] * 2, **how),
    "exact posterior": lambda lm, gen, p, **how: isn.exact_posterior(lm, p, SITE, PICK, 0.1, **how),
}


@pytest.mark.parametrize("title", WORK)
def test_slow_work_shows_one_bar_where_nobody_listens(lm, gen, prompts, title, capfd, monkeypatch) -> None:
    call, heard = WORK[title], []
    call(lm, gen, prompts)
    assert capfd.readouterr().err == "", "quick work shows nothing"
    monkeypatch.setattr(_progress, "DELAY", -1.0)
    call(lm, gen, prompts)
    shown = capfd.readouterr().err
    assert title in shown
    assert not [other for other in WORK if other != title and other in shown], "bars never nest"
    call(lm, gen, prompts, progress=False)
    call(lm, gen, prompts, on_progress=lambda *told: heard.append(told))
    assert capfd.readouterr().err == ""
    assert heard
    assert all(0 < done <= total and message for done, total, message in heard)


@pytest.mark.parametrize("title", WORK)
def test_work_can_be_stopped(lm, gen, prompts, title) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        WORK[title](lm, gen, prompts, cancel=stop)
