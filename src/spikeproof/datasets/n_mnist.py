"""N-MNIST: MNIST's 60,000 + 10,000 digits before a moving event camera, 34x34 pixels, three saccades (Orchard et al., 2015).

Native files: ``Train/<digit>/*.bin`` and ``Test/<digit>/*.bin``, 40 bits an event. Addresses are the publisher's (Mendeley);
digests are those that tonic and spikingjelly state. Licence: CC BY-SA 4.0. The test part is the official one.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .event_files import check_events, read_events40
from .events import EventOptions, event_spec, prepare_events
from .pictures import class_folders
from .sources import Archive, Remote, check_count

if TYPE_CHECKING:
    from pathlib import Path

    from ..projections import InputSpec
    from .base import PreparedData
    from .event_files import Events
    from .sources import Sources

__all__ = ["NMnist"]

PAGE = "https://www.garrickorchard.com/datasets/n-mnist"
BASE = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files/"
SENSOR = (34, 34)


def _archive(part: str, key: str, md5: str) -> Archive:
    return Archive((Remote(f"{part}.zip", (f"{BASE}{key}/file_downloaded",), PAGE, md5=md5),), part)


def _read(path: Path) -> Events:
    return check_events(read_events40(path), path, SENSOR)


class NMnist:
    """Digits seen by an event camera, 34x34 pixels, two polarities, 10 classes."""
    class Options(EventOptions):
        kind: Literal["n_mnist"]

    COUNTS = {"train": 60000, "test": 10000}
    ARCHIVES = {"train": _archive("Train", "39c25547-014b-4137-a934-9d29fa53c7a0", "20959b8e626244a1b502305a9e6e2031"),
                "test": _archive("Test", "05a4d654-7e03-4c15-bdfa-9bb2bcbea494", "69ca8762b2fe404d9b9bad1103e97832")}

    def __init__(self, options: Options) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        return event_spec(self.options, SENSOR), self.options.steps, 10

    def prepare(self, sources: Sources) -> PreparedData:
        """List the recordings; they are binned when the data are written -> PreparedData."""
        o, parts = self.options, {}
        for part, archive in self.ARCHIVES.items():
            folder = sources.folder("n_mnist", archive, o.official)
            parts[part] = class_folders(folder, [str(n) for n in range(10)], {".bin"})[1:]
            check_count(folder, "recordings", len(parts[part][1]), self.COUNTS[part], o.official)
        about = {"name": "N-MNIST", "source": f"{PAGE} (Orchard et al. 2015)", "licence": "CC BY-SA 4.0"}
        return prepare_events(o, SENSOR, 10, parts["train"], parts["test"], _read, about, "official", sources.workers)
