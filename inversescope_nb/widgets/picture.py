"""The static picture of a widget: plain HTML for viewers without a kernel, kept up to date while there is one.

A displayed widget writes two outputs. The first is its view. The second, under a display id of its own, is the
picture; it is replaced whenever what the widget shows has changed, and the view beside it stays as it is (an
update of the view's own output would make JupyterLab build the view again). While a view is on the page, it
hides the picture; what nbconvert, GitHub or a notebook without its kernel show is the picture.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import anywidget
import traitlets as t

logger = logging.getLogger(__name__)


class Pictured(anywidget.AnyWidget):
    """Base of widgets that have a static picture."""

    picture_class = t.Unicode("").tag(sync=True)
    """CSS class of the picture in the notebook, by which a view hides it."""

    def __init__(self, **traits: Any) -> None:
        self._displayed = False
        self._publishing = threading.Lock()
        super().__init__(**traits)
        self.picture_class = f"isn-picture-{self.model_id}"

    def _picture(self) -> str:
        """What the widget shows now, as HTML without scripts; all text in it is escaped."""
        raise NotImplementedError

    def _refresh_picture(self, _change: Any = None) -> None:
        """Put the picture up to date wherever the widget was displayed; from any thread."""
        if not self._displayed:
            return
        try:
            self._publish(update=True)
        except Exception:  # the widget itself goes on
            logger.exception("the static picture of a widget could not be put up to date")

    def _publish(self, *, update: bool) -> None:
        from IPython.display import publish_display_data

        with self._publishing:
            html = f'<div class="{self.picture_class}">{self._picture()}</div>'
            publish_display_data({"text/html": html}, transient={"display_id": self.picture_class}, update=update)

    def _view(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return dict(data or {}), metadata

    def _ipython_display_(self, **_kwargs: Any) -> None:
        from IPython.display import publish_display_data

        data, metadata = self._view()
        publish_display_data({**data, "text/html": ""}, metadata)  # empty: the picture stands in the next output
        self._displayed = True
        self._publish(update=False)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The view, and the picture as it is now, for those who ask without displaying."""
        data, metadata = self._view(**kwargs)
        return {**data, "text/html": self._picture()}, metadata
