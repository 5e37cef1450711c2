"""LanguageModel: a Hugging Face causal language model with its tokenizer, as the rest of the package sees it.

The model object is the user's own: it is run as it is (fine-tuned, PEFT, offloaded by accelerate) and is
never changed; what is added here is the map from site names to modules. Axes: ``n`` prompts, ``pos``
positions (indices into the token ids, BOS counted), ``d`` width of a site.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from . import encoding, fingerprints, reading, sites, stores
from ._arguments import folder_path, whole_number
from ._forward import forward_inputs, logits_behind
from ._readers import BySite, pieces_of
from .architectures import Architecture, candidates, takes, text_config
from .checks import check_architecture
from .encoding import EncodedPrompts, own_positions
from .errors import InvalidArgument, UnsupportedModel
from .hooks import evaluation_mode
from .loading import Placement, fetch
from .sites import Site
from .token_rows import TOKENS_PER_BATCH, token_rows

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor, nn

    from ._readers import Piece
    from .encoding import Prompts

__all__ = ["EncodedPrompts", "LanguageModel", "Site", "load_model"]

_LOCKS: weakref.WeakKeyDictionary[torch.nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_LOCKS_TURN = threading.Lock()


class LanguageModel:
    """A causal language model and its tokenizer; made by :func:`load_model`.

    Attributes:
        model: the user's own model object.
        tokenizer: its tokenizer.
        architecture: blocks and the layout of their parts.
        name: what to call it.
        n_layers, n_heads, d_model, d_head, n_ctx, vocab_size: sizes.
        bos_id, eos_id: special tokens or None; see also :attr:`text_bos_id`.
        pad_id: what shorter rows are filled with; never seen by the model's real tokens.
        lock: held during every forward pass, so that threads do not see each other's hooks.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, architecture: Architecture, *, name: str) -> None:
        config = text_config(model)
        self.model = model
        self.tokenizer = tokenizer
        self.architecture = architecture
        self.name = name
        self.n_layers = int(config.num_hidden_layers)
        self.n_heads = int(config.num_attention_heads)
        self.d_model = int(config.hidden_size)
        self.d_head = int(getattr(config, "head_dim", None) or self.d_model // self.n_heads)
        self.n_ctx = int(getattr(config, "max_position_embeddings", None) or 1 << 30)
        self.vocab_size = int(config.vocab_size)
        self.bos_id: int | None = tokenizer.bos_token_id
        self.eos_id: int | None = tokenizer.eos_token_id
        ids = (tokenizer.pad_token_id, self.eos_id, 0)
        self.pad_id: int = next(i for i in ids if i is not None and i < self.vocab_size)
        with _LOCKS_TURN:  # one for each model, however often it is wrapped: hooks are its modules'
            self.lock = _LOCKS.setdefault(model, threading.RLock())
        self.takes_position_ids = takes(model, "position_ids")
        self.takes_logits_to_keep = takes(model, "logits_to_keep")
        self._sites: dict[str, Site] = {}
        self._strings: dict[int, str] = {}

    def __repr__(self) -> str:
        sizes = f"{self.n_layers} layers, {self.n_heads} heads, d_model {self.d_model}"
        return f"LanguageModel({self.name!r}: {sizes}, {self.dtype}, {self.device})"

    @property
    def device(self) -> torch.device:
        """Where input ids go."""
        embedding = self.model.get_input_embeddings()
        hook = getattr(embedding, "_hf_hook", None)
        execution = getattr(hook, "execution_device", None)
        return torch.device(execution if execution is not None else embedding.weight.device)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return next(p.dtype for p in self.model.parameters() if p.dtype.is_floating_point)

    @property
    def fingerprint(self) -> str:
        """Hash of configuration and weights, as these are now; where some are offloaded, as they were at first use."""
        if any(p.is_meta for p in self.model.parameters()):  # each would be fetched again
            return self._first_fingerprint
        return fingerprints.model_fingerprint(self.model)

    @cached_property
    def _first_fingerprint(self) -> str:
        return fingerprints.model_fingerprint(self.model)

    @cached_property
    def text_bos_id(self) -> int | None:
        """The BOS that :meth:`encode` puts in front of texts; None where the tokenizer puts none (GPT-2 has a BOS
        token and does not use it)."""
        return self.bos_id if self.bos_id is not None and self.tokenizer("")["input_ids"][:1] == [self.bos_id] else None

    @cached_property
    def tokenizer_hash(self) -> str:
        """Hash of vocabulary, special tokens and merges, computed on first use."""
        return fingerprints.tokenizer_hash(self.tokenizer)

    def sites(self, pattern: str = "*", *, kinds: Collection[str] | None = None) -> list[str]:
        """Canonical names of sites, in forward order.

        Args:
            pattern: a glob over canonical names, such as ``"blocks.*.hook_resid_post"``.
            kinds: kinds to list, see ``sites.KINDS``. None: those a study uses, that is, without heads'
                `result` (z through W_O) and without raw outputs where they equal what is added to the
                residual stream, unless the pattern matches nothing else.

        Raises:
            UnknownSite: nothing matches.
        """
        if not isinstance(pattern, str) or isinstance(kinds, str) or not isinstance(kinds, Collection | None):
            raise InvalidArgument(
                f"sites({pattern!r:.40}, kinds={kinds!r:.40})", hint="give a glob, and a list of kinds such as ['z']"
            )
        return sites.list_sites(self, pattern, kinds)

    def site(self, spec: str | Site) -> Site:
        """The site that any accepted spelling names; see :func:`inversescope_nb.sites.parse_site`."""
        key = str(spec)
        if key not in self._sites:
            self._sites[key] = sites.parse_site(self, spec)
        return self._sites[key]

    def encode(self, prompts: Prompts | EncodedPrompts) -> EncodedPrompts:
        """Token ids of one or many prompts.

        Args:
            prompts: a text, a Prompt, a sequence of token ids, or a sequence of those. Token ids are taken
                as they are; texts get BOS once if the tokenizer adds one by itself, and no trailing EOS.

        Raises:
            BadPrompt: empty, longer than the context, or a token that does not exist.

        >>> import inversescope_nb as isn
        >>> isn.load_model().encode([[1, 2, 3], [1, 2]]).lengths
        tensor([3, 2])
        """
        return encoding.encode(self, prompts)

    def decode(self, token_ids: Sequence[int] | Int[Tensor, " pos"]) -> str:
        """Text of token ids, special tokens included."""
        return encoding.decode(self, token_ids)

    def token_strings(self, token_ids: Sequence[int] | Int[Tensor, " pos"]) -> list[str]:
        """One string per token, with the leading space it has inside a text (a word-level token: the word).

        Bytes that are no character on their own are written ``<0xE2>``, so that each such token is told apart.
        """
        return encoding.token_strings(self, token_ids)

    def activations(
        self,
        prompts: Prompts | EncodedPrompts,
        sites: str | Site | Iterable[str | Site],
        position: int | Sequence[int] | Int[Tensor, " n"] = -1,
        *,
        batch_size: int | None = None,
        store: str | Path | None = None,
        budget: int | None = None,
        on_progress: Callable[[int, int, str], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> dict[str, Float[Tensor, "n d"]]:
        """Activations of prompts, in one forward pass per batch that stops after the deepest site.

        Args:
            prompts: whatever :meth:`encode` takes.
            sites: one site or several, in any spelling.
            position: which of each prompt's own tokens, negative from its end; one for all or one each.
            batch_size: prompts per forward pass; None chooses by length. Prompts run in the order of their lengths,
                unless all fit in one batch; batches that do not fit in memory are halved.
            store: a folder to keep them in, from which they are read as they are used; `stores.open_store` opens it
                again. Where it holds these activations already, the model does not run: it is known by its weights,
                the sites and the prompts, not by patches that hold.
            budget: bytes that they may take in memory; where they take more they lie in a temporary file, which goes
                with the tensors. None: half of the memory that is free.
            on_progress: called with (done, total, message) after each batch.
            cancel: checked between batches.

        Returns:
            canonical site name (other spellings find it too) -> ``[n, d]`` float32 on the CPU, in the order
            of the prompts.

        Raises:
            UnknownSite, BadPrompt: see :meth:`site` and :meth:`encode`.
            InvalidArgument: a position outside a prompt, or a batch size below 1.
            NotFinite: NaN or infinite activations.
            OutOfMemory: one prompt by itself does not fit in memory.
            StoreError: a full disk, or a store that holds something else.
            Cancelled: `cancel` was set.
        """
        several = isinstance(sites, Iterable) and not isinstance(sites, str)
        wanted = [self.site(s) for s in (sites if several else [sites])]
        rows = token_rows(self, prompts)
        positions = own_positions(position, rows.lengths)
        if batch_size is not None:
            batch_size = whole_number("batch_size", batch_size, least=1, hint="None chooses by length")
        one_batch = len(rows) <= (batch_size or max(1, TOKENS_PER_BATCH // int(rows.lengths.max())))
        batches = [torch.arange(len(rows))] if one_batch else rows.batches(batch_size)
        pieces = pieces_of(self, wanted)
        if not pieces:
            return BySite(self)
        fits = stores.fits(stores.need(pieces, len(rows)), budget)

        def fill(places: Mapping[Piece, Tensor]) -> None:
            reading.read(self, rows, positions, batches, places, on_progress=on_progress, cancel=cancel)

        if store is not None:
            path, prompts_hash = folder_path(store, "store"), rows.digest(positions)
            found = stores.kept(path, self, wanted, prompts_hash)
            if found is None:
                about = {"model": self.fingerprint, "name": self.name, "prompts": prompts_hash}
                with stores.writing(path, pieces, len(rows), about) as places:
                    fill(places)
                found = stores.open_store(path, self, wanted)
            return found
        places = (reading.in_memory if fits else stores.temporary)(pieces, len(rows))
        fill(places)
        return reading.by_site(self, wanted, places)

    def logits(
        self, prompts: Prompts | EncodedPrompts, position: int | Sequence[int] | Int[Tensor, " n"] = -1
    ) -> Float[Tensor, "n vocab"]:
        """Next-token logits after one token of each prompt, float32 on the CPU; patches apply.

        Logits behind other tokens are not computed, if the model's ``forward`` takes ``logits_to_keep``.
        """
        batch = self.encode(prompts)
        positions = own_positions(position, batch.lengths).to(self.device)
        ids, lengths = batch.token_ids.to(self.device), batch.lengths.to(self.device)
        with self.lock, evaluation_mode(self.model), torch.inference_mode():
            found = logits_behind(self, forward_inputs(self, ids, lengths), positions)
        return torch.empty(found.shape).copy_(found)


def load_model(
    source: Any = None,
    *,
    tokenizer: Any = None,
    device_map: Any = "auto",
    dtype: Any = "auto",
    offload_folder: str | Path | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    check: bool = True,
) -> LanguageModel:
    """Load a causal language model with its tokenizer, and check that its parts add up.

    Args:
        source: a Hub name, a local folder, a loaded model, a (model, tokenizer) pair, a LanguageModel
            (returned as it is); None: the small model that comes with the package.
        tokenizer: a tokenizer, or the name or folder of one, where it does not come with `source`.
        device_map: as in ``from_pretrained``; ``"auto"`` fills GPUs, then the CPU, then the disk. Apple's
            MPS is used only when named, since it has computed wrong numbers silently.
        dtype: as in ``from_pretrained``; ``"auto"`` keeps the checkpoint's.
        offload_folder: where weights go that fit neither GPU nor memory.
        revision: a Hub revision.
        trust_remote_code: run code that comes with the model; off by default.
        check: run the model once on a few tokens and verify the module map.

    Raises:
        ModelLoadError: the model or tokenizer cannot be found, fetched or read.
        UnsupportedModel: its blocks cannot be found, or the parts do not add up.

    >>> lm = load_model()
    >>> load_model((lm.model, lm.tokenizer)).fingerprint == lm.fingerprint
    True
    """
    if isinstance(source, LanguageModel):
        return source
    hub = {"revision": revision, "trust_remote_code": trust_remote_code}
    model, tokenizer, name = fetch(source, tokenizer, Placement(device_map, dtype, offload_folder, hub))
    return _resolve(model, tokenizer, name, check)


def _resolve(model: Any, tokenizer: Any, name: str, check: bool) -> LanguageModel:
    """The first reading of the architecture that adds up."""
    failures = []
    for architecture in candidates(model):
        lm = LanguageModel(model, tokenizer, architecture, name=name)
        if not check:
            return lm
        try:
            check_architecture(lm, n_layers=1)  # most wrong readings fail here, before the whole model runs
            check_architecture(lm)
        except UnsupportedModel as error:
            failures.append(error)
        else:
            return lm
    if failures:
        raise failures[0]
    raise UnsupportedModel(f"no attention and MLP found in the blocks of {name}", hint="use another model")
