"""Tokens a second of a generator beside `generate()` on the bare backbone, and what stopping early saves.

    python benchmarks/bench_sampling.py [--layers 12] [--new 16] [--device cuda]

Both write rows of the same length with the same weights in batches of the same size, at temperature 1 with nothing cut
off, in turns; of each the median, of the ratios of the turns the median too. `generate()` is given no token that ends
a row, so that it does nothing but write; a generator's rows are as long as the longest it wrote. The GPT-2-sized
backbone is a random one of 124 million parameters with a vocabulary of 50,257; the embedded one is the packaged
generator's. The second table holds inversions of the packaged model with `ess=` beside the same without. At one thread.
On a GPU a third table holds inversions whose batches are re-run while the next is sampled, beside the same by turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import altair as alt
import pandas as pd
import torch
from _results import name_argument, write
from bench_capture import through
from transformers import GenerationConfig

import inversescope_nb as isn
from inversescope_nb import _measuring
from inversescope_nb.generator.building import build_generator

WANTED = 0.8
"""Tokens a second of the GPT-2-sized generator, in units of its bare backbone's."""
PROMPT, SITE, BANDWIDTH = "4 3 7 + 5 6 8 =", "blocks.1.hook_resid_post", 0.3
MOST, ENOUGH = 1024, (50.0, 100.0)


def gpt2(n_layers: int, n_new: int, device: str) -> tuple[isn.LanguageModel, isn.Generator, list[int]]:
    """A random model of GPT-2's width and vocabulary, a generator that writes `n_new` tokens a row, and an input."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    config = GPT2Config(n_layer=n_layers, bos_token_id=0, eos_token_id=0)
    words = {"<end>": 0, "<unk>": 1} | {f"w{i}": i for i in range(2, config.vocab_size)}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", bos_token="<end>", unk_token="<unk>")
    torch.manual_seed(0)
    lm = isn.load_model((GPT2LMHeadModel(config).eval().to(device), tokenizer))
    rows = torch.randint(2, config.vocab_size, (64, n_new - 4))  # a row may be four tokens longer than the longest
    prompts = isn.PromptDistribution.from_texts([" ".join(f"w{i}" for i in row) for row in rows.tolist()], cut="end")
    settings = isn.TrainingConfig(statistics_samples=64, held_out=8)
    gen = build_generator(lm, [SITE], prompts, settings).to(device)
    for control in gen.controls:  # as if it were trained
        control.gate.data.normal_(std=0.01)
    return lm, gen, prompts.draw(1, lm, seed=0)[0]


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """Wall time, and what came out."""
    began = time.perf_counter()
    found = work()
    through()
    return time.perf_counter() - began, found


def tokens_a_second(
    name: str, lm: isn.LanguageModel, gen: isn.Generator, ids: list[int], *, n: int, turns: int
) -> dict[str, object]:
    """Of a generator and of its bare backbone, by turns."""
    u = gen.statistics(SITE).standardise(lm.activations([ids], [SITE])[SITE].to(gen.device))
    condition = gen.condition_on(SITE, u, BANDWIDTH)
    start = torch.full((n, 1), gen.config.start_id, device=gen.device)
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(turns + 1):
        took, rows = seconds(lambda turn=turn: gen.sample(condition, n, seed=turn))
        length = max(len(x) - int(gen.config.has_bos) + int(ended) for x, ended in rows)
        bare = GenerationConfig(do_sample=True, top_k=0, top_p=1.0, max_new_tokens=length, pad_token_id=0)
        bare_took, _ = seconds(
            lambda bare=bare: gen.backbone.generate(
                start, attention_mask=torch.ones_like(start), generation_config=bare
            )
        )
        if turn:  # the first is not counted
            rates["ours"].append(n * length / took)
            rates["bare"].append(n * length / bare_took)
    ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["bare"], strict=True))
    size = sum(p.numel() for p in gen.backbone.parameters())
    return {
        "backbone": name, "parameters": size, "rows": n, "ours": statistics.median(rates["ours"]),
        "bare generate()": statistics.median(rates["bare"]), "ratio": ratio, "wanted": WANTED,
    }  # fmt: skip


def stops(lm: isn.LanguageModel, gen: isn.Generator, *, turns: int) -> list[dict[str, object]]:
    """Inversions of one activation with and without an effective sample size that is enough, by turns."""
    ways: dict[str, dict[str, float]] = {f"n={MOST}": {}} | {f"n={MOST}, ess={e:g}": {"ess": e} for e in ENOUGH}
    times: dict[str, list[float]] = {way: [] for way in ways}
    found: dict[str, isn.Inversion] = {}
    for turn in range(turns + 1):
        for way, how in ways.items():
            took, found[way] = seconds(
                lambda how=how: isn.invert(lm, gen, PROMPT, site=SITE, bandwidth=BANDWIDTH, n=MOST, **how)
            )
            if turn:
                times[way].append(took)
    return [
        {"inversion": way, "drawn": found[way].n, "ess": found[way].ess, "seconds": statistics.median(times[way]),
         "of all": statistics.median(a / b for a, b in zip(times[way], times[f"n={MOST}"], strict=True))}
        for way in ways
    ]  # fmt: skip


def overlapping(name: str, lm: isn.LanguageModel, gen: isn.Generator, ids: list[int], *, n: int, turns: int) -> dict:
    """Inversions whose batches are re-run while the next is sampled, and by turns, by turns."""
    usual, times = _measuring._overlaps, {"together": [], "by turns": []}
    try:
        for turn in range(turns + 1):
            for way, overlaps in (("together", True), ("by turns", False)):
                _measuring._overlaps = lambda _lm, overlaps=overlaps: overlaps
                took, _ = seconds(
                    lambda: isn.invert(lm, gen, ids, site=SITE, bandwidth=BANDWIDTH, n=n, bank=0, progress=False)
                )
                if turn:
                    times[way].append(took)
    finally:
        _measuring._overlaps = usual
    ratio = statistics.median(a / b for a, b in zip(times["together"], times["by turns"], strict=True))
    return {"backbone": name, "samples": n, **{way: statistics.median(t) for way, t in times.items()}, "ratio": ratio}


def main() -> None:
    """Prints the tables, and writes them and a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12, help="of the GPT-2-sized backbone")
    parser.add_argument("--new", type=int, default=16, help="tokens that it writes a row")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    name_argument(parser, "sampling")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lm, gen = isn.load_model(device_map=args.device), isn.load_generator(device=args.device)
    ids = lm.encode(PROMPT).rows()[0]
    rows = [tokens_a_second("embedded", lm, gen, ids, n=128, turns=3 * args.turns)]
    early = stops(lm, gen, turns=args.turns)
    large = gpt2(args.layers, args.new, args.device)
    sizes = (8, 32) if args.device == "cpu" else (32, 128, 512)
    rows += [tokens_a_second("GPT-2-sized", *large, n=n, turns=args.turns) for n in sizes]
    tables = {"speed": pd.DataFrame(rows), "stops": pd.DataFrame(early)}
    if args.device != "cpu":
        tables["overlap"] = pd.DataFrame(
            [
                overlapping("embedded", lm, gen, ids, n=MOST, turns=args.turns),
                overlapping("GPT-2-sized", *large, n=512, turns=args.turns),
            ]
        )
    speed = tables["speed"]
    with pd.option_context("display.width", 200, "display.max_columns", None):
        for table in tables.values():
            print(table.round(3).to_string(index=False), "\n")
    bars = alt.Chart(speed.assign(what=speed.backbone + ", " + speed.rows.astype(str) + " rows")).mark_bar()
    bars = bars.encode(x=alt.X("ratio:Q", title="tokens a second, in units of bare generate()"), y="what:N")
    wanted = alt.Chart(speed).mark_rule(strokeDash=[4, 4]).encode(x="wanted:Q")
    about = {"bandwidth": BANDWIDTH, "site": SITE}
    write(args.name, tables, bars + wanted, arguments=vars(args), **about)


if __name__ == "__main__":
    main()
