"""N-Caltech101: 8709 photographs of 101 classes moved before an event camera, at most 240x180 pixels (Orchard et al., 2015).

Native files: ``Caltech101/<class>/image_<n>.bin``, 40 bits an event; the classes are 100 kinds of objects and BACKGROUND_Google.
Address: the publisher's (Mendeley); digest as tonic and spikingjelly state it. Licence: CC BY 4.0 (the publisher's page). There
is no official split; ours draws a fifth of each class.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..files import CorruptFile
from .event_files import check_events, read_events40
from .events import EventOptions, event_spec, prepare_events
from .pictures import class_folders
from .sources import Archive, Remote, check_count
from .splits import share, stratified

if TYPE_CHECKING:
    from pathlib import Path

    from ..projections import InputSpec
    from .base import PreparedData
    from .event_files import Events
    from .sources import Sources

__all__ = ["NCaltech101"]

PAGE = "https://www.garrickorchard.com/datasets/n-caltech101"
URL = "https://data.mendeley.com/public-files/datasets/cy6cvx3ryv/files/36b5c52a-b49d-4853-addb-a836a8883e49/file_downloaded"
SENSOR = (180, 240)
BACKGROUND = "BACKGROUND_Google"
TEST = 0.2


def _read(path: Path) -> Events:
    return check_events(read_events40(path), path, SENSOR)


class NCaltech101:
    """Photographs seen by an event camera, 240x180 pixels, 101 classes, or 100 without the background (``background: false``)."""
    class Options(EventOptions):
        kind: Literal["n_caltech101"]
        background: bool = True

    ARCHIVE = Archive((Remote("Caltech101.zip", (URL,), PAGE, md5="66201824eabb0239c7ab992480b50ba3"),), "Caltech101")

    def __init__(self, options: Options) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        return event_spec(self.options, SENSOR), self.options.steps, 101 if self.options.background else 100

    def prepare(self, sources: Sources) -> PreparedData:
        """List the recordings; they are binned when the data are written -> PreparedData."""
        o, (_, _, classes) = self.options, self.describe()
        folder = sources.folder("n_caltech101", self.ARCHIVE, o.official)
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and (o.background or path.name != BACKGROUND))
        if len(names) != classes:
            raise CorruptFile(f"{folder} must have {classes} folders of classes, not {len(names)}")
        _, paths, labels = class_folders(folder, names, {".bin"})
        if o.background:
            check_count(folder, "recordings", len(paths), 8709, o.official)
        test, train = stratified(labels, share(len(labels), TEST), np.random.default_rng(o.split_seed))
        about = {"name": "N-Caltech101", "source": f"{PAGE} (Orchard et al. 2015)", "licence": "CC BY 4.0"}
        return prepare_events(o, SENSOR, classes, ([paths[k] for k in train], labels[train]),
                              ([paths[k] for k in test], labels[test]), _read, about,
                              f"test is {TEST:g} of each class, drawn by seed {o.split_seed}", sources.workers)
