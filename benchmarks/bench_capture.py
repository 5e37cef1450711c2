"""What reading activations costs beside the bare forward pass, and beside nnsight and TransformerLens.

    python benchmarks/bench_capture.py [--device cuda]

Bare is the model's own forward pass on the same batches, ended by an exception behind the deepest block that is read:
no hook but that one, no vocabulary logits, nothing kept. It and `lm.activations` take turns; a ratio is the median of
the rounds' ratios. Beside the wall time stands the processor time, which says the same where nobody else uses the
machine, and more where somebody does. Memory is counted, not looked up: the bytes of all tensors alive at the same time
(an operator's own workspace is not among them), beside those of the activations asked for and of the largest bare pass.

The other libraries come from the package registry, into an environment of their own; without them their rows are
SKIPPED. In the clone:

    python -m venv peers
    peers/bin/pip install -e . nnsight transformer-lens && peers/bin/python benchmarks/bench_capture.py

All read the output of the block in the middle, at the last token, of the same prompts given as one tensor of token ids.
nnsight and this package run the same model object. TransformerLens runs the same weights: its `HookedTransformer` has
a network of its own, into which they are converted without folding anything; its `TransformerBridge` replaces the
blocks of the model that it is given, and so is given a copy.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.metadata
import statistics
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import altair as alt
import pandas as pd
import torch
from _results import name_argument, write
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import inversescope_nb as isn
from inversescope_nb._forward import forward_inputs
from inversescope_nb.token_rows import token_rows

SIZES = {
    "gpt2": {}, "small": {"n_layer": 4, "n_embd": 128, "n_head": 4, "vocab_size": 1000},
    "gpt2-xl": {"n_layer": 48, "n_embd": 1600, "n_head": 25},
}  # fmt: skip
"""GPT-2 and its largest (1.6 billion parameters), and one of the packaged model's kind; random weights."""
CASES = [  # model, dtype, prompts, prompts per batch (None: as it comes), rounds
    ("gpt2", "float32", 32, None, 5),
    ("gpt2", "bfloat16", 8, None, 3),
    ("gpt2", "float32", 1, None, 7),
    ("small", "float32", 512, None, 7),
    ("small", "bfloat16", 512, None, 5),
    ("small", "float32", 64, 8, 7),
    ("small", "float32", 64, 1, 5),
]
GPU_CASES = [
    ("gpt2", "float32", 32, None, 15),
    ("gpt2", "bfloat16", 512, None, 15),
    ("gpt2-xl", "bfloat16", 512, None, 7),
    ("small", "float32", 512, None, 15),
]
LENGTH = 16
TARGET_TIME = 1.10
TARGETS = {"nnsight": 2.5, "TransformerLens, run_with_cache()": 3.0}
MEMORY = {
    "every site of 10,000 prompts": {"n": 10_000, "longest": 30, "sites": "all"},
    "one site of 20,000 prompts, one of them long": {"n": 20_000, "longest": 1000, "sites": "one"},
    "every site of 10,000 prompts, stored": {"n": 10_000, "longest": 30, "sites": "all", "stored": True},
}


class Ended(Exception):
    """Ends the bare forward pass."""


def tokenizer_of(size: int) -> PreTrainedTokenizerFast:
    """As many words as the model has tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({f"w{i}": i for i in range(size)}, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {f"{kind}_token": f"w{i}" for i, kind in enumerate(("unk", "bos", "eos", "pad"))}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def model_of(size: str, dtype: str = "float32", device: str = "cpu") -> isn.LanguageModel:
    """A model with random weights, always the same ones on one kind of device."""
    torch.manual_seed(0)
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    with torch.device(device):
        model = GPT2LMHeadModel(GPT2Config(**SIZES[size], **special)).to(getattr(torch, dtype)).eval()
    return isn.load_model((model, tokenizer_of(model.config.vocab_size)))


def bare(lm: isn.LanguageModel, ids: torch.Tensor, layer: int, batch_size: int) -> None:
    """The model's blocks up to a layer, on every batch."""

    def end(*_seen) -> None:
        raise Ended

    handle = lm.model.transformer.h[layer].register_forward_hook(end)
    try:
        for batch in ids.split(batch_size):
            with contextlib.suppress(Ended), torch.inference_mode():
                batch = batch.to(lm.device)
                lm.model(input_ids=batch, attention_mask=torch.ones_like(batch), use_cache=False)
    finally:
        handle.remove()


def through() -> None:
    """Waits until a GPU has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


Times = dict[str, list[tuple[float, float]]]
"""Wall and processor seconds of each round."""


def turns(work: dict[str, Callable[[], object]], rounds: int) -> Times:
    """All of them in every round, after a round that is not counted."""
    found: Times = {name: [] for name in work}
    for round_ in range(rounds + 1):
        for name, call in work.items():
            began, worked = time.perf_counter(), time.process_time()
            call()
            through()
            if round_:
                found[name].append((time.perf_counter() - began, time.process_time() - worked))
    return found


def ratios(took: Times, name: str, beside: str) -> tuple[float, float]:
    """Medians, over the rounds, of wall and processor time beside another's in the same round."""
    pairs = list(zip(took[name], took[beside], strict=True))
    return tuple(statistics.median(own[i] / other[i] for own, other in pairs) for i in range(2))


def seconds(took: Times, name: str) -> float:
    """Median wall time."""
    return statistics.median(wall for wall, _ in took[name])


def site_sets(lm: isn.LanguageModel) -> dict[str, tuple[list[str], int]]:
    """What is read, with its deepest layer."""
    middle, last = lm.n_layers // 2 - 1, lm.n_layers - 1
    usual = lm.sites()
    return {
        "middle block": ([f"resid_post.{middle}"], middle),
        "every block": (lm.sites("*resid_post"), last),
        "all but heads": ([site for site in usual if "hook_z" not in site], last),
        "with heads' z": (usual, last),
        "with heads' results": (usual + lm.sites(kinds=["result"]), last),
    }


def beside_bare(size: str, dtype: str, n: int, batch_size: int | None, rounds: int, device: str) -> list[dict]:
    """Rows of the first table."""
    lm = model_of(size, dtype, device)
    ids = torch.randint(5, lm.vocab_size, (n, LENGTH), generator=torch.Generator().manual_seed(0))
    prompts, rows = ids.tolist(), []
    for name, (sites, layer) in site_sets(lm).items():
        work = {
            "bare": lambda layer=layer: bare(lm, ids, layer, batch_size or n),
            "ours": lambda sites=sites: lm.activations(prompts, sites, batch_size=batch_size),
        }
        took = turns(work, rounds)
        ratio, worked = ratios(took, "ours", "bare")
        rows.append({
            "model": size, "dtype": dtype, "prompts": n, "batch": min(n, batch_size or n), "read": name,
            "sites": len(sites), "bare_s": seconds(took, "bare"), "ours_s": seconds(took, "ours"), "ratio": ratio,
            "ratio_cpu": worked, "target": TARGET_TIME,
        })  # fmt: skip
        print(_line(rows[-1]), flush=True)
    return rows


def beside_peers(n: int, rounds: int, device: str) -> list[dict]:
    """Rows of the second table: one site in the middle of GPT-2, at the last token."""
    lm = model_of("gpt2", device=device)
    layer = lm.n_layers // 2 - 1
    site = f"blocks.{layer}.hook_resid_post"
    ids = torch.randint(5, lm.vocab_size, (n, LENGTH), generator=torch.Generator().manual_seed(0))
    work = {"inversescope_nb": lambda: lm.activations(ids, site)[site], "bare": lambda: bare(lm, ids, layer, n)}
    skipped = []
    for library, add in (("nnsight", _nnsight), ("transformer-lens", _transformer_lens)):
        try:
            importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            skipped.append(library)
        else:
            work |= add(lm, ids, layer, site)
    for name, call in work.items():  # all of them read the same thing
        if name != "bare":
            torch.testing.assert_close(call().float().cpu(), work["inversescope_nb"](), rtol=1e-3, atol=1e-3, msg=name)
    took = turns(work, rounds)
    rows = []
    for name in took:
        wall, worked = ratios(took, name, "inversescope_nb")
        rows.append({
            "reader": name, "seconds": seconds(took, name), "times_ours": wall, "times_ours_cpu": worked,
            "target": TARGETS.get(name),
        })  # fmt: skip
        print(_line(rows[-1]), flush=True)
    for library in skipped:
        print(f"{library} SKIPPED: not installed")
        rows.append({"reader": f"{library} SKIPPED"})
    return rows


def _nnsight(lm: isn.LanguageModel, ids: torch.Tensor, layer: int, site: str) -> dict:
    """nnsight's tracing on the same model object, as documented, and told to stop behind the block."""
    from nnsight import LanguageModel

    model = LanguageModel(lm.model, tokenizer=lm.tokenizer)

    def documented() -> torch.Tensor:
        with torch.no_grad(), model.trace(ids):
            found = model.transformer.h[layer].output[:, -1].save()
        return found

    def stopped() -> torch.Tensor:
        with torch.no_grad(), model.trace(ids) as tracer:
            found = model.transformer.h[layer].output[:, -1].save()
            tracer.stop()
        return found

    return {"nnsight": documented, "nnsight, stopped": stopped}


def _transformer_lens(lm: isn.LanguageModel, ids: torch.Tensor, layer: int, site: str) -> dict:
    """`run_with_cache()` as it comes, and told what to keep and where to stop; both networks of TransformerLens."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    c = lm.model.config
    config = HookedTransformerConfig(
        n_layers=c.n_layer, d_model=c.n_embd, n_heads=c.n_head, d_head=c.n_embd // c.n_head, d_mlp=4 * c.n_embd,
        n_ctx=c.n_positions, d_vocab=c.vocab_size, act_fn="gelu_new", normalization_type="LN",
        eps=c.layer_norm_epsilon, original_architecture="GPT2LMHeadModel", device=str(lm.device),
    )  # fmt: skip
    hooked = HookedTransformer(config)
    hooked.load_and_process_state_dict(
        convert_gpt2_weights(lm.model, config),
        fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        lm.model.save_pretrained(folder)
        lm.tokenizer.save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(
            folder, hf_model=copy.deepcopy(lm.model), tokenizer=AutoTokenizer.from_pretrained(folder),
            device=str(lm.device),
        )  # fmt: skip

    def reader(model: object, **how: object) -> Callable[[], torch.Tensor]:
        def call() -> torch.Tensor:
            with torch.no_grad():
                _, cache = model.run_with_cache(ids, **how)
            return cache[site][:, -1]

        return call

    least = {"names_filter": site, "stop_at_layer": layer + 1}
    return {
        "TransformerLens, run_with_cache()": reader(hooked),
        "TransformerLens, filtered and stopped": reader(hooked, **least),
        "TransformerLens bridge, run_with_cache()": reader(bridge),
        "TransformerLens bridge, filtered and stopped": reader(bridge, **least),
    }


# -- memory ----------------------------------------------------------------------------------------


class Live(TorchDispatchMode):
    """Bytes of all tensors that were made inside and are still there; those of files left out, which are no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs)):  # were they made outside, they do not count
            self._note(tensor, counts=False)
        for tensor in tree_leaves(out):
            self._note(tensor, counts=True)
        return out

    def _note(self, tensor: object, *, counts: bool) -> None:
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        if counts and not storage.is_shared():
            size = storage.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size


def memory() -> list[dict]:
    """Rows of the third table."""
    rows = []
    lm = model_of("small")
    for case, how in MEMORY.items():
        draw = torch.Generator().manual_seed(0)
        lengths = torch.randint(4, min(how["longest"], 30) + 1, (how["n"],), generator=draw).tolist()
        prompts = [torch.randint(5, lm.vocab_size, (length,), generator=draw).tolist() for length in lengths]
        prompts[0] = torch.randint(5, lm.vocab_size, (how["longest"],), generator=draw).tolist()
        sites = [f"resid_post.{lm.n_layers - 1}"] if how["sites"] == "one" else lm.sites() + lm.sites(kinds=["result"])
        tokens, one_batch = token_rows(lm, prompts), 0
        for batch in tokens.batches():
            inputs = forward_inputs(lm, tokens.padded(batch, lm.pad_id), tokens.lengths[batch])
            with torch.inference_mode(), Live() as bare:
                lm.model.transformer(**inputs)
            one_batch = max(one_batch, bare.peak)
        with tempfile.TemporaryDirectory() as folder, Live() as ours:
            values = lm.activations(prompts, sites, store=Path(folder) / "store" if how.get("stored") else None)
            asked = 0 if how.get("stored") else sum(value.nbytes for value in values.values())
            del values
        mb = {"asked_mb": asked / 1e6, "one_batch_mb": one_batch / 1e6, "peak_mb": ours.peak / 1e6}
        rows.append({"case": case, **mb, "ratio": ours.peak / (asked + one_batch), "left_mb": ours.now / 1e6})
        print(_line(rows[-1]), flush=True)
    return rows


def _line(row: dict) -> str:
    return ", ".join(
        f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
    )


def main() -> None:
    """Prints the tables, and writes them and a picture of the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    name_argument(parser, "capture")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (memory is counted on the CPU alone)")
    args = parser.parse_args()
    on_cpu = args.device == "cpu"
    print("beside the bare forward pass (target: ratio at most 1.10)")
    cases = CASES if on_cpu else GPU_CASES
    times = pd.DataFrame([row for case in cases for row in beside_bare(*case, args.device)])
    print("one site in the middle of GPT-2 (targets: nnsight 2.5, TransformerLens 3 times ours)")
    peers = pd.DataFrame(beside_peers(32, 5 if on_cpu else 20, args.device))
    print("memory: peak beside the activations asked for (none where they go to disk) and one batch (target: 1.05)")
    held = pd.DataFrame(memory() if on_cpu else [])
    for table in (times, peers, held):
        print(table.round(3).to_string(index=False), end="\n\n")
    times["case"] = times["model"] + " " + times["dtype"] + ", batches of " + times["batch"].astype(str)
    dots = alt.Chart(times).mark_point(filled=True).encode(
        x=alt.X("ratio_cpu:Q", title="processor time beside the bare forward pass", scale=alt.Scale(zero=False)),
        y=alt.Y("read:N", sort=list(dict.fromkeys(times["read"])), title=None, axis=alt.Axis(grid=True)),
        color=alt.Color("case:N", title=None),
    )  # fmt: skip
    rule = alt.Chart(times).mark_rule(strokeDash=[4, 3]).encode(x="target:Q")
    installed = [d for d in ("transformers", "nnsight", "transformer-lens") if _version(d)]
    versions = {name: _version(name) for name in installed}
    write(args.name, {"times": times.drop(columns="case"), "peers": peers, "memory": held}, dots + rule,
          arguments=vars(args), length=LENGTH, versions=versions)  # fmt: skip


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
