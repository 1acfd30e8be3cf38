"""Which device a training runs on: of a machine's GPUs, one that no other training of this program has."""
from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from .annotations import Say

__all__ = ["training_device"]

#: Seconds between two looks for a free GPU.
POLL = 0.5
#: The GPU that this process has, and its lock; the system opens it when the process ends, however it ends.
HELD: dict[str, FileLock] = {}


def training_device(say: Say = print) -> str:
    """The device named by SPIKEPROOF_DEVICE (default "cpu"); for "cuda" with SPIKEPROOF_GPUS=N, a free one of cuda:0 to cuda:N-1.

    A GPU is taken, once, until the process ends, by a lock in the system's folder of temporary files, so that trainings of several
    pipelines of one user on one machine get different ones too. Where all are taken this waits.

    Parameters
    ----------
    say : function of a line of text, told once when all are taken

    Raises
    ------
    ValueError
        If SPIKEPROOF_GPUS is no number above 0.
    """
    device, gpus = os.environ.get("SPIKEPROOF_DEVICE", "cpu"), os.environ.get("SPIKEPROOF_GPUS")
    if device != "cuda" or gpus is None:
        return device
    if not gpus.isdecimal() or int(gpus) < 1:
        raise ValueError(f"SPIKEPROOF_GPUS must be a whole number above 0, not {gpus!r}")
    if HELD:
        return next(iter(HELD))
    folder = Path(tempfile.gettempdir()) / f"spikeproof-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    told = False
    while True:
        for n in range(int(gpus)):
            lock = FileLock(folder / f"{n}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            HELD[f"cuda:{n}"] = lock
            return f"cuda:{n}"
        if not told:
            say(f"all {gpus} GPUs are taken: waiting for one")
            told = True
        time.sleep(POLL)
