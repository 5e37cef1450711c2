"""Makes the packaged target model; ``python -m inversescope_nb.rebuild target --out DIR`` runs it.

A small Llama (word-level vocabulary) learns six tasks at once from prompts that the package generates.

1. Every step shows a batch of each task, padded to that task's own length (no padding across tasks).
2. The loss is the next-token cross-entropy, answers at full weight and the rest at `context_weight`,
   so that the model is also a language model of its prompts.
3. Curriculum: every `eval_every` steps the shares of the tasks move toward those not yet learned.
4. The last `polish` steps show more stories with every name, so that names generalise beyond the stories they
   were learned from; shares are fixed there.
5. Checkpoints every `save_every` steps; the same command resumes. Step k's data depend on (seed, k) only.

The run card beside the weights records held-out accuracies, tokens seen, times and versions.
"""

from __future__ import annotations

import logging
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from . import _files
from .prompts import Prompt, PromptDistribution
from .tasks import TASKS, _people, get_task
from .tasks._cities import ATTRIBUTE_TEMPLATES, CITIES
from .tasks._pairs import PAIRS
from .tasks._requests import REQUEST_TEMPLATES, REQUESTS
from .templates import Slot, Template

log = logging.getLogger(__name__)
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)


@dataclass(frozen=True)
class PretrainingConfig:
    """What decides the packaged target model."""

    d_model: int = 128
    """Width of the residual stream."""
    d_mlp: int = 512
    """Hidden width of the gated MLP."""
    n_layers: int = 4
    """Blocks."""
    n_heads: int = 4
    """Attention heads a block."""
    n_ctx: int = 64
    """Longest input, in tokens."""
    steps: int = 1_700
    """Optimizer steps before the polish."""
    cool_from: int = 750
    """Step from which the learning rate falls linearly to zero; before, it follows a cosine of `horizon` steps."""
    horizon: int = 5_000
    """Length of that cosine."""
    polish: int = 300
    """Further steps with more name stories, their learning rate falling linearly from `polish_lr` to zero."""
    polish_lr: float = 7e-4
    """Learning rate at their beginning."""
    batch: int = 448
    """Prompts a step, over all tasks."""
    lr: float = 2e-3
    """Peak learning rate (AdamW, linear warm-up over 200 steps)."""
    weight_decay: float = 0.05
    """AdamW's, on matrices only."""
    context_weight: float = 0.3
    """Weight of the mean loss on tokens before the answer, beside 1 for the answer's."""
    eval_every: int = 250
    """Steps between held-out evaluations."""
    save_every: int = 250
    """Steps between checkpoints."""
    seed: int = 0
    """Of weights and data."""

    def rate(self, step: int) -> float:
        """Learning rate of one step."""
        if step >= self.steps:
            return self.polish_lr * (1 - (step - self.steps) / self.polish)
        rate = self.lr * min(1.0, (step + 1) / 200)
        rate *= 0.5 * (1 + math.cos(math.pi * min(step, self.cool_from) / self.horizon))
        left = (self.steps - step) / max(1, self.steps - self.cool_from)
        return rate * min(1.0, left)


def word_list() -> list[str]:
    """Every word of every task, sorted, each once."""
    words: set[str] = set("+ = : , . ? > - ' ! Answer Sure Sorry".split()) | set("0123456789")
    for names in (_people.NAMES, _people.HELD_OUT_NAMES, _people.PLACES, _people.OBJECTS, _people.EVENTS):
        words |= set(names)
    words |= {w for city, facts in CITIES.items() for text in (city, *facts) for w in text.split()}
    words |= {w for pairs in PAIRS.values() for pair in pairs for text in pair for w in text.split()}
    words |= {w for phrase, _ in REQUESTS for w in phrase.split()}
    texts = [t for ts in ATTRIBUTE_TEMPLATES.values() for split in ts for t in split]
    texts += [t for split in REQUEST_TEMPLATES for t in split]
    texts += [t for _, t in _people.IOI_TEMPLATES + _people.HELD_OUT_IOI_TEMPLATES]
    texts += [*_people.EVENT_TEMPLATES, *_people.HELD_OUT_EVENT_TEMPLATES, *_people.MORE_NAME_STORIES]
    words |= {w for text in texts for w in text.split() if not w.startswith("{")}
    return sorted(words)


def make_tokenizer(words: list[str], n_ctx: int):
    """A word-level tokenizer: punctuation and digits stand alone, BOS comes first, unknown words are ``<unk>``."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {word: i for i, word in enumerate((*SPECIAL, *words))}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(r"[^\w<>]"), behavior="isolated"),
        ]
    )
    core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=n_ctx,
        clean_up_tokenization_spaces=False,
        **dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True)),
    )


def name_stories(texts: tuple[str, ...]) -> PromptDistribution:
    """Stories in which a name returns; they show every name, the held-out ones too.

    The answer is the name that was told once, or the only one.
    """
    everybody = _people.NAMES + _people.HELD_OUT_NAMES
    free = {
        "A": Slot("A", everybody),
        "B": Slot("B", everybody, distinct_from=("A",)),
        "PLACE": Slot("PLACE", _people.PLACES),
        "OBJECT": Slot("OBJECT", _people.OBJECTS),
    }
    again = {f"{name}2": Slot(f"{name}2", lambda a, name=name: (a[name],)) for name in free}
    templates = []
    for text in texts:
        names = [w.strip("{}") for w in text.split() if w.startswith("{")]
        answer = "B" if "{B}" in text and not text.rpartition("{B2}")[1] else "A"
        if "{A2}" in text and "{B2}" in text:
            answer = "B" if text.index("{A2}") > text.index("{B2}") else "A"
        templates.append(
            Template(text, tuple((free | again)[n] for n in names), {"answer": lambda a, answer=answer: a[answer]})
        )
    return PromptDistribution.from_templates(templates, name="name stories", cut="end")


def encode(prompt: Prompt, vocab: dict[str, int]) -> tuple[list[int], int]:
    """(ids with BOS, answer and EOS; where the answer begins)."""
    ids = [BOS, *(vocab[w] for w in prompt.text.split())]
    answer = [vocab[w] for w in str(prompt.labels["answer"]).split()]
    return [*ids, *answer, EOS], len(ids)


class Curriculum:
    """Training data: which prompts a step shows, and how many of each task."""

    def __init__(self, config: PretrainingConfig, vocab: dict[str, int]) -> None:
        self.config, self.vocab = config, vocab
        self.sources = {name: get_task(name).split("train", cut="end") for name in TASKS}
        self.sources["name_stories"] = name_stories(_people.NAME_STORIES)
        self.shares = {name: 1.0 for name in self.sources} | {"addition": 2.0, "in_context": 2.0, "name_stories": 0.5}

    def adapt(self, accuracy: dict[str, float]) -> None:
        """Moves the shares toward tasks with low accuracy; none falls under a floor."""
        for name in self.shares:
            wanted = 0.3 + 3.0 * math.sqrt(1.0 - accuracy.get(name, 0.95))
            self.shares[name] = 0.5 * self.shares[name] + 0.5 * wanted

    def polish(self) -> None:
        """Turns to the last steps' mix."""
        self.sources["name_stories"] = name_stories(_people.MORE_NAME_STORIES)
        self.shares = dict.fromkeys(self.sources, 0.8) | {"name_stories": 3.0, "ioi": 1.5, "greater_than": 1.5}

    def batches(self, step: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Task -> (ids [n, pos] padded with PAD, where each answer begins [n])."""
        total = sum(self.shares.values())
        out = {}
        for name, source in self.sources.items():
            n = max(4, round(self.config.batch * self.shares[name] / total))
            seed = random.Random(f"{self.config.seed} {step} {name}").randrange(2**31)
            out[name] = pad([encode(p, self.vocab) for p in source.sample(n, seed=seed)])
        return out


def pad(rows: list[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and the answers' beginnings."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [PAD] * (width - len(ids)) for ids, _ in rows])
    return ids, torch.tensor([start for _, start in rows])


def loss_of(model, ids: torch.Tensor, starts: torch.Tensor, context_weight: float) -> torch.Tensor:
    """Mean loss on answers (with EOS) plus `context_weight` times the mean loss before them, nats."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    nll = F.cross_entropy(logits.transpose(1, 2).float(), ids[:, 1:], reduction="none")
    position = torch.arange(1, ids.shape[1])
    real = ids[:, 1:] != PAD
    answer = real & (position >= starts[:, None])
    context = real & ~answer
    return nll[answer].mean() + context_weight * nll[context].mean()


@torch.inference_mode()
def evaluate(model, vocab: dict[str, int], n: int, seed: int) -> dict[str, float]:
    """Held-out accuracy of each task: every token of the greedy answer right (a later year for greater-than)."""
    model.eval()
    accuracy = {}
    for name in TASKS:
        prompts = get_task(name).held_out.sample(n, seed=seed)
        ids, starts = pad([encode(p, vocab) for p in prompts])
        if name == "greater_than":
            accuracy[name] = _greater_than_accuracy(model, vocab, prompts, ids, int(starts[0]))
            continue
        greedy = model(input_ids=ids, use_cache=False).logits[:, :-1].argmax(-1)
        answer = (torch.arange(1, ids.shape[1]) >= starts[:, None]) & (ids[:, 1:] != PAD)
        accuracy[name] = ((greedy == ids[:, 1:]) | ~answer).all(1).float().mean().item()
    return accuracy


def _greater_than_accuracy(model, vocab: dict[str, int], prompts: list[Prompt], ids: torch.Tensor, start: int) -> float:
    """Share of prompts whose two greedy digits spell a later year."""
    seen = ids[:, :start]
    for _ in range(2):
        seen = torch.cat([seen, model(input_ids=seen, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    words = {i: w for w, i in vocab.items()}
    right = 0
    for prompt, row in zip(prompts, seen[:, start:].tolist(), strict=True):
        digits = "".join(words[i] for i in row)
        right += digits.isdigit() and int(digits) > int(str(prompt.labels["year"]).replace(" ", ""))
    return right / len(prompts)


def build_model(config: PretrainingConfig, vocab_size: int):
    """The untrained Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=config.d_model,
        intermediate_size=config.d_mlp,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_heads,
        max_position_embeddings=config.n_ctx,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return LlamaForCausalLM(shape)


def pretrain(out: Path, config: PretrainingConfig, *, threads: int = 2) -> dict[str, float]:
    """Trains, checkpoints and writes the model folder; returns the held-out accuracies."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(word_list(), config.n_ctx)
    vocab = tokenizer.get_vocab()
    model = build_model(config, len(vocab))
    n_params = sum(p.numel() for p in model.parameters())
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))
    curriculum = Curriculum(config, vocab)
    state_file, step, seconds, tokens, history = out / "checkpoint.safetensors", 0, 0.0, 0, []
    if state_file.exists():
        _files.load_checkpoint(state_file, model, optimizer)
        state = _files.checkpoint_state(state_file)
        step, seconds, tokens = state["step"], state["seconds"], state["tokens"]
        curriculum.shares, history = state["shares"], state["history"]
    total_steps = config.steps + config.polish
    log.info("%s parameters, %s words; %s of %s steps done", f"{n_params:,}", len(vocab), step, total_steps)
    began = time.monotonic() - seconds
    while step < total_steps:
        if step >= config.steps:
            curriculum.polish()
        for group in optimizer.param_groups:
            group["lr"] = config.rate(step)
        model.train()
        batches = curriculum.batches(step)
        n_prompts = sum(len(ids) for ids, _ in batches.values())
        total = 0.0
        for ids, starts in batches.values():
            loss = loss_of(model, ids, starts, config.context_weight) * (len(ids) / n_prompts)
            loss.backward()
            total += loss.item()
            tokens += int((ids != PAD).sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 50 == 0:
            spent = time.monotonic() - began
            log.info("step %d loss %.3f %.0f s, %.0f tokens/s", step, total, spent, tokens / spent)
        if step % config.eval_every == 0:
            accuracy = evaluate(model, vocab, 400, seed=step)
            curriculum.adapt(accuracy)
            history.append({"step": step, "loss": total, **accuracy})
            log.info("held out: %s", " ".join(f"{k} {v:.3f}" for k, v in accuracy.items()))
        if step % config.save_every == 0 or step in (config.steps, total_steps):
            state = {"step": step, "tokens": tokens, "seconds": time.monotonic() - began}
            state |= {"shares": curriculum.shares, "history": history}
            _files.save_checkpoint(state_file, model, optimizer, state)
    return _finish(out, model, tokenizer, config, history, tokens, time.monotonic() - began)


def _finish(out: Path, model, tokenizer, config, history, tokens: int, seconds: float) -> dict[str, float]:
    """Rounds the weights to fp16, measures what is then held out, writes model, tokenizer and run card."""
    import transformers

    model.half().float()
    accuracy = evaluate(model, tokenizer.get_vocab(), 2000, seed=123_456_789)
    model.half().save_pretrained(out / "model")
    about = out / "model" / "config.json"  # stored in fp16, to be run in fp32: CPUs have no fast fp16
    _files.write_json(about, _files.read_json(about) | {"dtype": "float32"})
    tokenizer.save_pretrained(out / "model")
    about = out / "model" / "tokenizer_config.json"  # under the name that transformers 4 and 5 both know
    _files.write_json(about, _files.read_json(about) | {"tokenizer_class": "PreTrainedTokenizerFast"})
    card = {
        "what": "packaged target model: six tasks learned from scratch",
        "parameters": sum(p.numel() for p in model.parameters()),
        "held_out_accuracy": accuracy,
        "held_out_prompts": 2000,
        "config": asdict(config),
        "tokens_seen": tokens,
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "history": history,
    }
    _files.write_json(out / "model" / "run_card.json", card)
    log.info("held out, fp16: %s", " ".join(f"{k} {v:.4f}" for k, v in accuracy.items()))
    return accuracy
