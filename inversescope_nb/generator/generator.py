"""The conditional generator q(x | activation, site, bandwidth): a causal language model with control layers.

Rows are token-id sequences ``start x_1 .. x_k end``, where x ends at the site and ``end`` (the EOS token)
says so: P(end) carries the site's position. ``start`` is BOS, which belongs to the input where the target
has one. Sampling is Hugging Face's own ``generate()`` at temperature 1 with nothing cut off, so samples are
draws from q, and log q is what the same network says of them.

Axis names: n (rows), pos (tokens), d (site width), c (condition width).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from ..architectures import Architecture, candidates, text_config
from ..banks import Bank, Banks, Progress
from ..errors import GeneratorMismatch, InvalidArgument, UnknownSite, suggest
from ..hooks import hooked
from ..kernels import Kernel, SiteStatistics, check_bandwidth
from ..prompts import PromptDistribution
from ..token_rows import TokenRows
from . import probe
from .conditioning import SiteEncoder
from .config import GeneratorConfig
from .control import Condition, make_control
from .ending import Ending
from .recomputing import recomputed
from .stopping import step_rows, stoppable

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from ..models import LanguageModel


LOGITS_PER_BATCH = 1 << 27
"""Logits held at once: half a gigabyte of float32."""


class _Lock:
    """A re-entrant lock that a copy of its owner does not share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def __deepcopy__(self, _memo: dict[int, Any]) -> _Lock:
        return _Lock()


class Generator(nn.Module):
    """A trained inverter of some sites of one target model; made by :func:`train_generator` or loaded.

    Attributes:
        sites: names of the sites it can invert.
        prompts: the distribution P(X) it was trained on.
        run_card: how it was made and how good it is.
        shares_target: whether its backbone is the target itself, frozen (then this module holds only the adapters).
        fingerprint, tokenizer_hash: of the target model it belongs to.
    """

    has_prior = True
    """Whether it learns q(x | nothing) as well."""
    recomputes = False
    """Whether backward passes compute its blocks again instead of keeping what is inside."""

    def __init__(
        self,
        backbone: nn.Module,
        statistics: dict[str, SiteStatistics],
        prompts: PromptDistribution,
        config: GeneratorConfig,
        *,
        fingerprint: str,
        tokenizer_hash: str,
        run_card: dict[str, Any] | None = None,
        shares_target: bool = False,
    ) -> None:
        super().__init__()
        self.shares_target = shares_target
        if shares_target:
            self.__dict__["backbone"] = backbone  # the target's own weights: never moved, saved or trained from here
        else:
            self.backbone = backbone
        self.prompts, self.config = prompts, config
        self.fingerprint, self.tokenizer_hash = fingerprint, tokenizer_hash
        self.run_card = run_card or {}
        self.probe: dict[str, Any] = {}
        self.bank_inputs: list[list[int]] = []
        self._turn = _Lock()
        self._banks = Banks()
        self.architecture: Architecture = next(candidates(backbone))
        d_model, self.vocab_size = (int(getattr(text_config(backbone), n)) for n in ("hidden_size", "vocab_size"))
        self.encoder = SiteEncoder(
            statistics, width=config.width, n_tokens=config.n_tokens, n_blocks=config.n_blocks,
            expansion=config.expansion, n_common=config.n_common,
        )  # fmt: skip
        self.controls = nn.ModuleList(make_control(config, d_model) for _ in self.architecture.blocks)
        self.ending = None
        if config.ends:
            width = config.width * config.n_tokens
            self.ending = Ending(d_model, width=width, units=config.units, end_id=config.end_id)
        self._checked: set[tuple[str, str, str]] = set()

    def train(self, mode: bool = True) -> Generator:
        """As for any module, but the backbone's dropout stays off: P(X) gives fresh inputs at every step."""
        super().train(mode)
        self.backbone.eval()
        return self

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites it can invert, in the target's forward order."""
        return self.encoder.sites

    @property
    def kernel(self) -> Kernel:
        """What it was trained to call near."""
        return Kernel(self.config.metric, self.config.shape)

    @property
    def longest_input(self) -> float:
        """Tokens of the longest input that its backbone can read."""
        n_ctx = getattr(text_config(self.backbone), "max_position_embeddings", None)
        return math.inf if n_ctx is None else n_ctx - int(not self.config.has_bos)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.encoder.scales.device

    def statistics(self, site: str) -> SiteStatistics:
        """Moments of one site's activations on P(X); raises `UnknownSite` for a site it does not invert."""
        if site not in self.encoder.index:
            raise UnknownSite(
                f"this generator was not trained for {site}.{suggest(site, self.sites)}",
                hint=f"its {len(self.sites)} sites are in generator.sites; train_generator() makes one for others",
            )
        return self.encoder.statistics(site)

    def check_target(self, lm: LanguageModel) -> None:
        """Raises `GeneratorMismatch` unless it was made for this very model and tokenizer."""
        identity = (lm.fingerprint, lm.tokenizer_hash, str(lm.dtype))
        if identity in self._checked:
            return
        if lm.tokenizer_hash != self.tokenizer_hash:
            what = "another tokenizer"
        elif lm.fingerprint != self.fingerprint:
            what = "another model (or a fine-tune of it)"
        else:
            probe.check(self, lm)
            self.prompts = self.prompts.bound_to(lm)
            self._checked.add(identity)
            return
        raise GeneratorMismatch(
            f"this generator was made for {what}, not for {lm.name}",
            hint="train_generator(lm, sites, prompts) makes one for this model",
        )

    def record_probe(self, lm: LanguageModel, *, n: int = 16, bandwidth: float = 0.1) -> None:
        """Notes what this generator says of `n` inputs, for the self-test of everyone who loads it."""
        self.probe = probe.record(self, lm, n=n, bandwidth=bandwidth)

    def fold(self) -> None:
        """Makes it smaller where that changes nothing, once it is trained (:meth:`.SiteEncoder.fold`)."""
        self.encoder.fold()
        self.config = replace(self.config, n_common=self.encoder.n_common)

    # -- what to expect at a site ---------------------------------------------------------------

    def default_bandwidth(self, site: str) -> float:
        """The usual bandwidth at a site: 0.1, or the smallest at which a picked input has at most 5 % of the posterior.

        Measured when it was trained, see :func:`inversescope_nb.generator.quality.usual_bandwidths`.
        """
        low, high = self.config.bandwidths
        return float(self.run_card.get("usual_bandwidths", {}).get(site, min(max(0.1, low), high)))

    def relative_scale(self, site: str) -> float:
        """A site's spread on P(X) in units of its layer's residual stream; NaN where that is not among its sites."""
        block = site.rsplit(".hook_", 1)[0].removesuffix(".attn").removesuffix(".mlp")
        for name in ("resid_post", "resid_mid", "resid_pre"):
            i = self.encoder.index.get(f"{block}.hook_{name}")
            if i is not None and not bool(self.encoder.constant[i]):
                return float(self.encoder.scales[self.encoder.index[site]] / self.encoder.scales[i])
        return math.nan

    def bank(
        self,
        lm: LanguageModel,
        prior: PromptDistribution,
        size: int,
        *,
        on_progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> Bank:
        """`size` inputs of a P(X), drawn once and kept here, in which an inversion looks for what it misses.

        Of the distribution it was trained on, those that were held out then; none where it cannot be drawn from.
        """
        own = self.bank_inputs if prior is self.prompts else []
        return self._banks.get(lm, prior, size, own, on_progress=on_progress, cancel=cancel)

    # -- conditions ---------------------------------------------------------------------------

    def condition(
        self,
        activations: Sequence[tuple[int, Float[Tensor, "k d"]]],
        bandwidths: Float[Tensor, " n"],
        keep: Bool[Tensor, " n"] | None = None,
    ) -> Condition:
        """What the control layers see of a batch; arguments as in :meth:`SiteEncoder.forward`."""
        return Condition(self._parts(self.encoder(activations, bandwidths)), keep)

    def condition_on(self, site: str, u: Float[Tensor, "n d"], bandwidth: float) -> Condition:
        """Condition of standardised activations of one site at one bandwidth."""
        check_bandwidth(bandwidth, self.config.bandwidths)
        self.statistics(site)
        u = u.to(self.device, torch.float32)
        return self.condition([(self.encoder.index[site], u)], torch.full((len(u),), bandwidth, device=self.device))

    def no_condition(self, n: int) -> Condition:
        """The condition of rows that see none: q(x | nothing), the generator's own prior."""
        return Condition(self._parts(self.encoder.out.weight.new_zeros(n, 0, self.config.width)))

    def _parts(self, tokens: Float[Tensor, "n token c"]) -> tuple[tuple[Tensor, ...], ...]:
        """What every layer that sees the condition makes of it, once a call."""
        layers = [*self.controls] if self.ending is None else [*self.controls, self.ending.control]
        return tuple(layer.prepare(tokens) for layer in layers)

    @contextmanager
    def controlled(self, condition: Condition) -> Iterator[None]:
        """Within the block the backbone's forward passes see the condition; other threads wait for its end."""
        with self._steered(condition), ExitStack() as stack:
            if self.ending is not None:
                stack.enter_context(self.ending.decided(self.backbone, condition.parts[-1], condition.keep))
            yield

    @contextmanager
    def _steered(self, condition: Condition) -> Iterator[None]:
        """The same, but the logits know nothing of where inputs end."""
        layout = self.architecture.layout
        path, side = layout.tap("attn_out")
        with self._turn.lock, ExitStack() as stack:
            of_blocks = condition.parts[: len(self.controls)]
            for block, control, parts in zip(self.architecture.blocks, self.controls, of_blocks, strict=True):
                entry: list[Tensor] = []

                def remember(hidden: Tensor, entry: list[Tensor] = entry) -> None:
                    entry[:] = [hidden]

                def add(out: Tensor, entry=entry, control=control, parts=parts) -> Tensor:
                    hidden = (entry[0].to(out.device) + out).to(control.gate)
                    return out + control(hidden, *parts, keep=condition.keep).to(out)

                part = block.get_submodule(path)
                stack.enter_context(hooked(block, "in", remember))
                again = self.recomputes and torch.is_grad_enabled()
                stack.enter_context(recomputed(block, part, side, add) if again else hooked(part, side, add))
            yield

    # -- training and scoring -------------------------------------------------------------------

    def rows(self, inputs: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "n pos"], Int[Tensor, " n"]]:
        """Framed, right-padded rows of inputs, and the rows' lengths."""
        start, end = [] if self.config.has_bos else [self.config.start_id], self.config.end_id
        framed = TokenRows.of_ids([[*start, *x, end] for x in inputs])
        ids = framed.padded(torch.arange(len(framed)), end)
        return ids.to(self.device), framed.lengths.to(self.device)

    def unframed(self, row: list[int]) -> tuple[list[int], bool]:
        """(the input in a written row, whether the row ended by itself)."""
        ended = self.config.end_id in row[1:]
        stop = row.index(self.config.end_id, 1) if ended else len(row)
        return row[0 if self.config.has_bos else 1 : stop], ended

    def token_log_probs(
        self, ids: Int[Tensor, "n pos"], lengths: Int[Tensor, " n"], condition: Condition
    ) -> Float[Tensor, "n pos-1"]:
        """log q of every token behind the first, nats, 0 behind a row's end."""
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        given = {"input_ids": ids[:, :-1], "attention_mask": mask[:, :-1].long(), "use_cache": False}
        if self.ending is None:
            with self.controlled(condition):
                logits = self.backbone(**given).logits
            targets = ids[:, 1:].to(logits.device)
            nll = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
            return -nll.view_as(targets).to(mask.device) * mask[:, 1:]
        with self._steered(condition), self.ending.read(self.backbone) as hidden:
            logits = self.backbone(**given).logits
        targets = ids[:, 1:].to(logits.device)
        log_q = self.ending.log_probs(logits, targets, hidden[0], condition.parts[-1], condition.keep)
        return log_q.to(mask.device) * mask[:, 1:]

    def forward(
        self,
        ids: Int[Tensor, "n pos"],
        lengths: Int[Tensor, " n"],
        activations: Sequence[tuple[int, Float[Tensor, "k d"]]],
        bandwidths: Float[Tensor, " n"],
        keep: Bool[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n pos-1"]:
        """Training: :meth:`token_log_probs` of rows under noised activations."""
        return self.token_log_probs(ids, lengths, self.condition(activations, bandwidths, keep))

    @torch.inference_mode()
    def log_probs(
        self,
        inputs: Sequence[Sequence[int]],
        condition: Condition,
        *,
        batch_size: int | None = None,
        cancel: threading.Event | None = None,
    ) -> list[Float[Tensor, " pos"]]:
        """log q of every token of each input and of its end, nats; the condition has one row or one an input.

        Run in batches of `batch_size`, by default :meth:`rows_at_once`, smaller ones with `cancel`, which is looked at
        before every block of the backbone; `Cancelled` is raised. An input that is too long for the backbone
        (:attr:`longest_input`) cannot be written by it: -inf.
        """
        if len(condition) not in (1, len(inputs)):
            raise InvalidArgument(
                f"a condition of {len(condition)} rows for {len(inputs)} inputs", hint="1, or one each"
            )
        fits = [len(x) <= self.longest_input for x in inputs]
        if batch_size is None:
            longest = max((len(x) for x, ok in zip(inputs, fits, strict=True) if ok), default=0) + 1
            batch_size = self.rows_at_once(longest, stops=cancel is not None)
        out: list[Tensor] = []
        for at in range(0, len(inputs), batch_size):
            rows = inputs[at : at + batch_size]
            able = fits[at : at + batch_size]
            ids, lengths = self.rows([x if ok else x[:1] for x, ok in zip(rows, able, strict=True)])
            part = condition.rows(slice(at, at + batch_size), len(ids))
            with self._turn.lock, stoppable(self.architecture.blocks, cancel, "scoring"):
                found = self.token_log_probs(ids, lengths, part).cpu()
            for x, row, n, ok in zip(rows, found, lengths.tolist(), able, strict=True):
                out.append(row[: n - 1] if ok else row.new_full((n - 2 + len(x),), -math.inf))
        return out

    def rows_at_once(self, length: int, *, stops: bool = False) -> int:
        """Rows of `length` tokens in one batch: as many as have half a gigabyte of logits, at least 1.

        `stops`: and no more than run in a fraction of a second.
        """
        size = max(1, LOGITS_PER_BATCH // (length * self.vocab_size))
        if not stops:
            return size
        n_parameters = sum(p.numel() for module in (self.backbone, self.controls) for p in module.parameters())
        return min(size, step_rows(length, n_parameters, self.device))

    def prior_log_probs(self, inputs: Sequence[Sequence[int]]) -> list[Float[Tensor, " pos"]]:
        """:meth:`log_probs` where nothing is known: q(x | nothing), the generator's own prior.

        NaN for a kind of generator that learns none (:attr:`has_prior`).
        """
        return self.log_probs(inputs, self.no_condition(1))

    def __repr__(self) -> str:
        """One line, and not the tree of its modules."""
        sites = self.sites[0] if len(self.sites) == 1 else f"{len(self.sites)} sites"
        target = self.run_card.get("target", {}).get("name", "")
        of = f" of {target!r}" if target else ""
        size = sum(p.numel() for p in self.parameters())
        where = f"P(X) {self.prompts.name!r}, cut at {self.prompts.cut}"
        return f"<Generator for {sites}{of}: {where}; {size:,} parameters>"

    # -- sampling -------------------------------------------------------------------------------

    def sample(
        self, condition: Condition, n: int, *, seed: int, cancel: threading.Event | None = None
    ) -> list[tuple[list[int], bool]]:
        """`n` draws for each row of the condition, one row's draws after the other.

        Args:
            condition: from :meth:`condition_on` or :meth:`no_condition`.
            n: draws for each of its rows.
            seed: of the draws.
            cancel: looked at before every token; `Cancelled` is raised.

        Returns:
            (token ids of the input, whether it ended by itself) for each draw; BOS is part of the ids
            where the target has one.
        """
        from .sampling import sample

        return sample(self, condition, n, seed=seed, cancel=cancel)

    def noised(
        self, site: str, z: Float[Tensor, "n d"], bandwidth: float, *, amount: float = 1.0, seed: int = 0
    ) -> Float[Tensor, "n d"]:
        """Standardised activations seen through the kernel's noise, usually u + amount * eps * sqrt(D) * n."""
        u = self.statistics(site).standardise(z.to(self.device, torch.float32))
        rng = torch.Generator(device="cpu").manual_seed(seed)
        if amount == 0:
            return u
        return self.kernel.noise(u.cpu(), torch.full((len(u), 1), bandwidth * amount), rng).to(self.device)

    # -- keeping --------------------------------------------------------------------------------

    def save_pretrained(self, path, *, dtype: torch.dtype | None = None) -> None:
        """Writes the folder that :meth:`from_pretrained` reads; see :mod:`inversescope_nb.generator.folder`."""
        from .folder import save

        save(self, path, dtype=dtype)

    def push_to_hub(
        self, repo_id: str, *, private: bool = False, dtype: torch.dtype | None = None, **options: Any
    ) -> str:
        """Uploads the folder of :meth:`save_pretrained`, with a card, and gives its address.

        Args:
            repo_id: ``user/name``; made where it does not exist.
            private: whether a new repository is private.
            dtype: as for `save_pretrained`.
            options: of huggingface_hub's ``upload_folder``, such as ``commit_message`` and ``revision``.

        Raises:
            ModelLoadError: there is no connection, no login, or no right to write there.
        """
        from .hub import push

        return push(self, repo_id, private=private, dtype=dtype, **options)

    @classmethod
    def from_pretrained(
        cls,
        path_or_repo_id,
        *,
        revision: str | None = None,
        device: str | None = None,
        target: LanguageModel | None = None,
    ) -> Generator:
        """A generator from a folder or from the Hub.

        Args:
            path_or_repo_id: a folder that :meth:`save_pretrained` wrote, or ``user/name``.
            revision: of the repository.
            device: where its weights go; None: to the target's where that is given, else to the CPU.
            target: its target, on which the self-test is then run at once (else when both are first used); a
                generator whose backbone is the frozen target needs it.

        Raises:
            ModelLoadError: it cannot be found, fetched or read.
            GeneratorMismatch: it was made for another model or tokenizer, or fails its self-test on `target`.
        """
        from .folder import load

        return load(path_or_repo_id, revision=revision, device=device, target=target)
