"""What every architecture shares."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..detection import BoxHead
    from ..options import Options
    from ..projections import InputSpec
    from .shapes import LayerShape

__all__ = ["Architecture"]


class Architecture:
    """Base class: holds the options. Subclasses give :meth:`layers` and an ``Options`` class; importable without torch.

    Members
    -------
    boxes : bool, whether its readout are boxes; it then has :meth:`head`
    """
    boxes = False

    def __init__(self, options: Options) -> None:
        self.options = options

    def layers(self, input_spec: InputSpec, classes: int) -> tuple[LayerShape, ...]:
        """Tuple of LayerShape on an input (InputSpec); the last has ``classes`` neurons, but of detectors.

        Raises
        ------
        ValueError
            If the layers do not fit the input or the classes.
        """
        raise NotImplementedError

    def head(self, input_spec: InputSpec, classes: int) -> BoxHead:
        """The :class:`spikeproof.detection.BoxHead` that reads a detector's last layer."""
        raise NotImplementedError
