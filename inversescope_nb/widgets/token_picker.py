"""TokenPicker: a prompt shown as its tokens, one of which is picked.

Usable alone: give it tokens, or a text and the function that splits it; observe ``position`` or
register `TokenPicker.on_pick`. Tokens can be shaded by one number each, with a printed scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import traitlets as t

from ..errors import InvalidArgument, suggest
from .messages import IDLE, STATIC, Callbacks, MessageWidget, as_json, checked, guarded, handles


class TokenPicker(MessageWidget):
    """A prompt as tokens.

    Args:
        text: the prompt; with ``tokenize`` it can be edited in the widget.
        tokens: the tokens, where there is no ``tokenize``.
        tokenize: text -> tokens, one string each.
        position: index of the picked token, from the end when negative.
        examples: prompts to choose from: strings, label -> text, or label -> several texts.

    Raises:
        InvalidArgument: a position outside the tokens, or values that do not match them.

    >>> picker = TokenPicker(tokens=["When", "Mary", "left"], position=1)
    >>> picker.token
    'Mary'
    """

    _esm = STATIC / "token_picker.js"

    text = t.Unicode("").tag(sync=True)
    tokens = t.List(t.Unicode()).tag(sync=True)
    position = t.Int(-1).tag(sync=True)
    values = t.List(default_value=None, allow_none=True).tag(sync=True)
    values_label = t.Unicode("").tag(sync=True)
    values_unit = t.Unicode("").tag(sync=True)
    values_max = t.Float(default_value=None, allow_none=True).tag(sync=True)
    """The top of the scale; None: what the values ask for."""
    diverging = t.Bool(False).tag(sync=True)
    quantity = t.Unicode("").tag(sync=True)
    """What the tokens are shaded by, of :attr:`quantities`."""
    quantities = t.List(t.Dict()).tag(sync=True)
    """What they can be shaded by: ``{name, label, why_not}`` each; ``why_not`` says why it cannot be chosen now."""
    shading = t.Dict(dict(IDLE)).tag(sync=True)
    """How far the shading is, where it takes long."""
    examples = t.List(t.Dict()).tag(sync=True)
    tabs = t.List(t.Dict()).tag(sync=True)
    """The prompts that are kept, ``{text, position}`` each; that of :attr:`tab` is the one that is shown."""
    tab = t.Int(0).tag(sync=True)
    editable = t.Bool(True).tag(sync=True)

    def __init__(
        self,
        text: str = "",
        *,
        tokens: Sequence[str] | None = None,
        tokenize: Callable[[str], Sequence[str]] | None = None,
        position: int = -1,
        examples: Sequence[str] | Mapping[str, str | Sequence[str]] = (),
        **unknown: Any,
    ) -> None:
        self._reject_unknown(unknown)
        if tokens is not None and tokenize is not None:
            raise InvalidArgument("both tokens and tokenize were given", hint="give one of them")
        self._tokenize = tokenize
        self._picks: Callbacks | None = None
        self._accepted = text
        self._switching = False
        self._stop_shading: Callable[[], Any] | None = None
        self.visible: tuple[int, int] | None = None
        """The tokens that are on the screen, of a long prompt: the first, and the one behind the last."""
        start = list(tokens) if tokens is not None else (list(tokenize(text)) if tokenize and text else [])
        _check_position(position, len(start))  # before there is a widget, which ipywidgets would keep
        super().__init__(
            text=text,
            tokens=start,
            position=position,
            examples=_listed(examples),
            editable=tokenize is not None,
            tabs=[{"text": text, "position": position}],
        )
        self._picks = Callbacks(self)
        self.check_position(position)

    def check_position(self, position: int) -> None:
        """Raises `InvalidArgument` for a position outside the tokens."""
        _check_position(position, len(self.tokens))

    @property
    def accepted(self) -> str:
        """The last text that could be split: the one that `tokens` are of, whatever is being typed."""
        return self._accepted

    @property
    def index(self) -> int:
        """The picked position, counted from the start; -1 where there are no tokens."""
        return self.position + len(self.tokens) if self.position < 0 else self.position

    @property
    def token(self) -> str | None:
        """The picked token."""
        return self.tokens[self.index] if self.tokens else None

    def on_pick(self, callback: Callable[[int], Any], remove: bool = False) -> None:
        """Call ``callback(position)`` whenever a token is picked in the widget, the same one again included."""
        assert self._picks is not None
        self._picks.register(callback, remove)

    def shade(
        self,
        values: Sequence[float | None] | None,
        *,
        label: str = "",
        unit: str = "",
        diverging: bool = False,
        top: float | None = None,
    ) -> None:
        """Shade the tokens by one number each; None takes the shading off. ``top``: that of the scale."""
        if values is not None and len(values) != len(self.tokens):
            raise InvalidArgument(
                f"{len(values)} values for {len(self.tokens)} tokens", hint="give one value per token, or None"
            )
        with self.hold_sync():
            self.values_label, self.values_unit, self.diverging, self.values_max = label, unit, diverging, top
            self.values = None if values is None else as_json(list(values))

    # -- several prompts -----------------------------------------------------------------------------

    def open_tab(self, text: str, position: int = -1) -> None:
        """Show another prompt in a tab of its own; the one shown now is kept in its.

        Raises:
            InvalidArgument: the tokens were given, so that no text can be split.
            BadPrompt: it cannot be split.
        """
        if self._tokenize is None:
            raise InvalidArgument("this picker has fixed tokens", hint="make it with tokenize=")
        self._tokenize(text)  # raises before anything is opened
        self.tabs = [*self.tabs, {"text": text, "position": position}]
        self.tab = len(self.tabs) - 1

    def show_prompt(self, text: str) -> None:
        """Go to the tab of a prompt, or open one: what is being worked on in another tab stays as it is."""
        if text == self._accepted:
            return
        known = next((i for i, kept in enumerate(self.tabs) if kept["text"] == text), None)
        if known is None:
            self.open_tab(text)
        else:
            self.tab = known

    def close_tab(self, tab: int) -> None:
        """Forget the prompt of a tab; the last one stays."""
        if not 0 <= tab < len(self.tabs):
            raise InvalidArgument(f"there is no tab {tab}", hint=f"allowed: 0 to {len(self.tabs) - 1}")
        if len(self.tabs) == 1:
            return
        rest = [kept for i, kept in enumerate(self.tabs) if i != tab]
        shown = self.tab
        self._switching = True  # while there is one tab less, none is written to
        try:
            self.tabs = rest
            self.tab = min(shown - (shown > tab), len(rest) - 1)
        finally:
            self._switching = False
        if tab == shown:
            self._switch()

    @t.validate("tab")
    @checked
    def _valid_tab(self, proposal: dict[str, Any]) -> int:
        if self.tabs and not 0 <= proposal["value"] < len(self.tabs):
            raise InvalidArgument(f"there is no tab {proposal['value']}", hint=f"allowed: 0 to {len(self.tabs) - 1}")
        return proposal["value"]

    @t.observe("tab")
    @guarded
    def _chosen(self, _change: dict[str, Any]) -> None:
        if not self._switching and self._picks is not None:
            self._switch()

    def _switch(self) -> None:
        """Show the prompt of the tab that is chosen, where it was picked."""
        kept = self.tabs[self.tab]
        self._switching = True
        try:
            self.text = kept["text"]
            self.position = kept["position"]
        finally:
            self._switching = False
        self._keep()

    def _keep(self) -> None:
        """What the tab shows is what it keeps."""
        if self._switching or self._picks is None:
            return
        shown = {"text": self._accepted, "position": self.position}
        if self.tabs[self.tab] != shown:
            self.tabs = [shown if i == self.tab else kept for i, kept in enumerate(self.tabs)]

    @handles("open tab")
    def _open_tab(self) -> None:
        self.open_tab(self._accepted, self.position)

    @handles("close tab")
    def _close_tab(self, tab: int) -> None:
        self.close_tab(int(tab))

    @t.validate("position")
    @checked
    def _valid_position(self, proposal: dict[str, Any]) -> int:
        if self._picks is not None:
            self.check_position(proposal["value"])
        return proposal["value"]

    @t.observe("text")
    @guarded
    def _split(self, change: dict[str, Any]) -> None:
        if self._tokenize is None or self._picks is None:
            return
        tokens = list(self._tokenize(change["new"]))
        self._accepted = change["new"]
        before, at = self.tokens, self.index
        edited = len(tokens) == len(before) or tokens[at : at + 1] == before[at : at + 1]
        with self.hold_sync():
            if tokens != before:
                self.values = None
            self.tokens = tokens
            if self.position >= 0 and not (edited and at < len(tokens)):
                self.position = -1  # another prompt: its end, not the place where the old one was picked
            elif self.position < -len(tokens):
                self.position = -1
            self.clear_error()
        self._keep()

    @t.observe("tokens", "position")
    def _keep_shown(self, _change: dict[str, Any]) -> None:
        self._keep()

    @t.observe("tokens", "position", "values")
    def _redraw_picture(self, _change: dict[str, Any]) -> None:
        self._refresh_picture()

    def _picture(self) -> str:
        from ..export import picker_fragment

        return picker_fragment(self)

    def on_stop(self, callback: Callable[[], Any]) -> None:
        """What the Stop button beside the progress of the shading does."""
        self._stop_shading = callback

    @t.validate("quantity")
    @checked
    def _valid_quantity(self, proposal: dict[str, Any]) -> str:
        names = {entry["name"]: entry.get("why_not") for entry in self.quantities}
        value = proposal["value"]
        if names and value not in names:
            raise InvalidArgument(
                f"no quantity is named {value!r}.{suggest(value, names)}", hint=f"allowed: {', '.join(names)}"
            )
        if names.get(value):
            raise InvalidArgument(f"the tokens cannot be shaded by {value}: {names[value]}")
        return value

    @handles("visible")
    def _seen(self, start: int, stop: int) -> None:
        self.visible = (max(0, int(start)), max(0, int(stop)))

    @handles("stop shading")
    def _stop(self) -> None:
        if self._stop_shading is not None:
            self._stop_shading()

    @handles("pick")
    def _pick(self, position: int) -> None:
        self.position = int(position)
        assert self._picks is not None
        self._picks(self.index)


def _check_position(position: int, n: int) -> None:
    if n and not -n <= position < n:
        raise InvalidArgument(
            f"position {position} is outside the prompt of {n} tokens",
            hint=f"allowed: {-n} to {n - 1}; negative positions count from the end",
        )


def _listed(examples: Sequence[str] | Mapping[str, str | Sequence[str]]) -> list[dict[str, str]]:
    """``{group, label, text}`` of each example; several texts of one label are a group."""
    if not isinstance(examples, Mapping):
        return [{"group": "", "label": text, "text": text} for text in examples]
    out = []
    for label, texts in examples.items():
        if isinstance(texts, str):
            out.append({"group": "", "label": label, "text": texts})
        else:
            out += [{"group": label, "label": text, "text": text} for text in texts]
    return out
