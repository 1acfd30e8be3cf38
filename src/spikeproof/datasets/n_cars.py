"""N-CARS: 24,029 recordings of 100 ms, cars or background, at most 120x100 pixels (Sironi et al., 2018).

Native files: ``n-cars_train/.../cars/*_td.dat`` and ``.../background/*_td.dat``, and likewise ``n-cars_test`` (Prophesee DAT). The
publisher gives the archive on request (a form), under terms shown there. The test part is the official one.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .event_files import check_events, read_dat
from .events import EventOptions, event_spec, prepare_events
from .sources import Missing, check_count

if TYPE_CHECKING:
    from pathlib import Path

    from ..projections import InputSpec
    from .base import PreparedData
    from .event_files import Events
    from .sources import Sources

__all__ = ["NCars"]

PAGE = "https://www.prophesee.ai/2018/03/13/dataset-n-cars/"
SENSOR = (100, 120)
CLASSES = ("background", "cars")


def _read(path: Path) -> Events:
    return check_events(read_dat(path), path, SENSOR)


class NCars:
    """Cars (1) or background (0) seen by an event camera, 120x100 pixels."""
    class Options(EventOptions):
        kind: Literal["n_cars"]

    COUNTS = {"train": (7482, 7940), "test": (4211, 4396)}

    def __init__(self, options: Options) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        return event_spec(self.options, SENSOR), self.options.steps, 2

    def prepare(self, sources: Sources) -> PreparedData:
        """List the recordings; they are binned when the data are written -> PreparedData."""
        o, parts = self.options, {}
        for part, counts in self.COUNTS.items():
            folder = sources.find("n_cars", f"n-cars_{part}", f"Prophesee_Dataset_n_cars/n-cars_{part}")
            if folder is None:
                raise Missing(f"{sources.data_dir / 'n_cars' / f'n-cars_{part}'} is missing, and its publisher gives it on request "
                              f"only: get Prophesee_Dataset_n_cars.7z from {PAGE} and unpack it there")
            found = [sorted(path for path in folder.rglob("*_td.dat") if path.parent.name == name) for name in CLASSES]
            for name, paths, count in zip(CLASSES, found, counts):
                check_count(folder, f"recordings *_td.dat in folders called {name}", len(paths), count, o.official)
            parts[part] = [*found[0], *found[1]], np.repeat([0, 1], [len(paths) for paths in found])
        about = {"name": "N-CARS", "source": f"{PAGE} (Sironi et al. 2018)", "licence": "as agreed with the publisher"}
        return prepare_events(o, SENSOR, 2, parts["train"], parts["test"], _read, about, "official", sources.workers)
