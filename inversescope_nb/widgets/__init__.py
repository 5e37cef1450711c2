"""Notebook widgets: `TokenPicker`, `SampleGallery`, `ConsistencyPanel`, `SiteSweep` and `Comparison`, each usable
alone, and `InverseScopeWidget`, which wires them around one model.

They are a thin face on the package's public functions and hold no method of their own; `backend` is the
only module among them that calls those functions.
"""

from __future__ import annotations

from .comparison import Comparison
from .consistency_panel import ConsistencyPanel
from .sample_gallery import SampleGallery
from .scope import InverseScopeWidget
from .site_sweep import SiteSweep
from .token_picker import TokenPicker

__all__ = ["Comparison", "ConsistencyPanel", "InverseScopeWidget", "SampleGallery", "SiteSweep", "TokenPicker"]
