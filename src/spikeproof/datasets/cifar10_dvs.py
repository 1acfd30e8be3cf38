"""CIFAR10-DVS: 10,000 CIFAR-10 images moved before an event camera, 128x128 pixels (Li et al., 2017).

Native files: ``<class>/cifar10_<class>_<n>.aedat`` (AEDAT 2.0), n from 0 to 999. Addresses are the publisher's (figshare); digests
are those that spikingjelly states. No licence of the data was found. There is no official split: ``split: seeded`` draws a
tenth of each class, ``split: first`` takes recordings 0 to 99 of each class as the test part, as part of the literature does.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..files import CorruptFile
from .event_files import check_events, read_aedat2
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

__all__ = ["Cifar10Dvs"]

PAGE = "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671"
FILES = {"airplane": (7712788, "0afd5c4bf9ae06af762a77b180354fdd"), "automobile": (7712791, "8438dfeba3bc970c94962d995b1b9bdd"),
         "bird": (7712794, "a9c207c91c55b9dc2002dc21c684d785"), "cat": (7712812, "52c63c677c2b15fa5146a8daf4d56687"),
         "deer": (7712815, "b6bf21f6c04d21ba4e23fc3e36c8a4a3"), "dog": (7712818, "f379ebdf6703d16e0a690782e62639c3"),
         "frog": (7712842, "cad6ed91214b1c7388a5f6ee56d08803"), "horse": (7712851, "e7cbbf77bec584ffbf913f00e682782a"),
         "ship": (7712836, "41c7bd7d6b251be82557c6cce9a7d5c9"), "truck": (7712839, "89f3922fd147d9aeff89e76a2b0b70a7")}
HOSTS = ("https://ndownloader.figshare.com/files/", "https://api.figshare.com/v2/file/download/")
SENSOR = (128, 128)
TEST = 0.1


def _read(path: Path) -> Events:
    return check_events(read_aedat2(path), path, SENSOR)


def _number(path: Path) -> int:
    """n of cifar10_<class>_<n>.aedat."""
    number = path.stem.rpartition("_")[2]
    if not number.isdecimal():
        raise CorruptFile(f"{path} must be called cifar10_<class>_<number>.aedat")
    return int(number)


class Cifar10Dvs:
    """Photographs seen by an event camera, 128x128 pixels, 10 classes."""
    class Options(EventOptions):
        kind: Literal["cifar10_dvs"]
        split: Literal["seeded", "first"] = "seeded"

    ARCHIVES = {name: Archive((Remote(f"{name}.zip", tuple(f"{host}{key}" for host in HOSTS), PAGE, md5=md5),), name)
                for name, (key, md5) in FILES.items()}

    def __init__(self, options: Options) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        return event_spec(self.options, SENSOR), self.options.steps, len(FILES)

    def prepare(self, sources: Sources) -> PreparedData:
        """List the recordings; they are binned when the data are written -> PreparedData."""
        o = self.options
        folders = [sources.folder("cifar10_dvs", archive, o.official) for archive in self.ARCHIVES.values()]
        paths: list[Path] = []
        label_of: list[int] = []
        for label, folder in enumerate(folders):
            _, found, _ = class_folders(folder.parent, [folder.name], {".aedat"})
            check_count(folder, "recordings", len(found), 1000, o.official)
            paths += sorted(found, key=_number)
            label_of += [label] * len(found)
        labels = np.array(label_of, np.int64)
        if o.split == "first":
            is_test = np.array([_number(path) < 100 for path in paths])
            test, train, rule = np.flatnonzero(is_test), np.flatnonzero(~is_test), "test is recordings 0 to 99 of each class"
        else:
            test, train = stratified(labels, share(len(labels), TEST), np.random.default_rng(o.split_seed))
            rule = f"test is {TEST:g} of each class, drawn by seed {o.split_seed}"
        about = {"name": "CIFAR10-DVS", "source": f"{PAGE} (Li et al. 2017)", "licence": "none found"}
        return prepare_events(o, SENSOR, len(FILES), ([paths[k] for k in train], labels[train]),
                              ([paths[k] for k in test], labels[test]), _read, about, rule, sources.workers)
