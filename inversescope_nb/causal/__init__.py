"""Is what an activation holds also used? Patches and scaled activations, beside controls.

- :func:`patching`: the samples of one inversion patched in, against random displacements of equal length.
- :func:`use`: at many sites, patches that flip a feature against patches that keep it; stands beside a consistency
  report.
- :func:`scaling` and :func:`learn_scales`: activations multiplied by given or learned factors.
"""

from __future__ import annotations

from .learned import learn_scales
from .patches import PatchReport, patching
from .reports import UseReport
from .scales import ScalingReport, scaling
from .usage import use

__all__ = ["PatchReport", "ScalingReport", "UseReport", "learn_scales", "patching", "scaling", "use"]
