"""Speech Commands, version 2: 105,829 spoken words of a second, 35 classes (Warden, 2018), as cepstra (MFCC).

Native files: ``<word>/<speaker>_nohash_<n>.wav``, 16 kHz, one channel; ``testing_list.txt`` and ``validation_list.txt`` name the
clips of those parts, the others are for training. Address, digest (torchaudio, TensorFlow Datasets) and licence (CC BY 4.0) are the
publisher's. All three parts are the official ones.

The cepstra are those of the ATIF paper: 10 coefficients, FFT of 1024 points, window of 640, hop of 320, and padding of 320 samples:
read as 160 at each end, which gives the 48 frames that the paper states (320 at each end would give 49). What the paper does not
state is as in torchaudio: Hann window, power spectrum, mel scale of HTK without area normalisation, decibels down to 80 below the
clip's maximum, orthonormal DCT-II; 40 mel bands from 20 to 4000 Hz are Qualia's. Each coefficient is scaled so that 0.1 to
99.9 % of its training values fill the range of codes.
"""
from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from ..files import CorruptFile
from ..options import Options
from ..projections import InputSpec
from .base import PARTS, PreparedData, in_order
from .pictures import class_folders
from .sources import Archive, Remote, check_count, lines_of

if TYPE_CHECKING:
    from typing import Self

    from ..annotations import Array, StrPath
    from .sources import Sources

__all__ = ["SpeechCommands", "cepstra"]

PAGE = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
URLS = (PAGE,
        "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz")
RATE = 16000
WORDS = tuple("backward bed bird cat dog down eight five follow forward four go happy house learn left marvin nine no off on one "
              "right seven sheila six stop three tree two up visual wow yes zero".split())
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}


def cepstra(clip: Array, options: SpeechCommands.Options) -> Array:
    """A clip, float [16000] within -1 .. 1, -> its mel-frequency cepstra, float32 [frames, coefficients]."""
    import librosa
    o = options
    clip = np.pad(np.asarray(clip, np.float32), o.padding // 2)
    mel = librosa.feature.melspectrogram(y=clip, sr=RATE, n_fft=o.fft, win_length=o.window, hop_length=o.hop, center=False,
                                         power=2.0, n_mels=o.mels, fmin=o.f_min, fmax=o.f_max, htk=True, norm=None)
    return librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=o.coefficients).T


def read_clip(path: StrPath, options: SpeechCommands.Options) -> Array:
    """A WAV file -> its cepstra; clips are cut, or filled up with silence, to one second."""
    import soundfile
    try:
        clip, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (MemoryError, RuntimeError, OSError) as error:
        raise CorruptFile(f"{path} is no whole WAV file ({' '.join(str(error).split())[:150]}): replace or delete it") from None
    if rate != RATE or clip.shape[1] != 1:
        raise CorruptFile(f"{path} must have one channel at {RATE} Hz, not {clip.shape[1]} at {rate} Hz")
    if not len(clip):
        raise CorruptFile(f"{path} has no samples: replace or delete it")
    clip = clip[:RATE, 0]
    return cepstra(np.pad(clip, (0, RATE - len(clip))), options)


class SpeechCommands:
    """Spoken words as cepstra, a map of 48 frames by 10 coefficients, 35 classes."""
    class Options(Options):
        kind: Literal["speech_commands"]
        bits: int = Field(8, ge=1, le=8)
        steps: int = Field(4, ge=1, le=64)
        coefficients: int = Field(10, ge=1)
        fft: int = Field(1024, ge=2, le=RATE)
        window: int = Field(640, ge=2)
        hop: int = Field(320, ge=1)
        padding: int = Field(320, ge=0, lt=RATE)
        mels: int = Field(40, ge=1, le=256)
        f_min: float = Field(20.0, ge=0)
        f_max: float = Field(4000.0, gt=0, le=RATE / 2)
        official: bool = True

        @model_validator(mode="after")
        def _fits(self) -> Self:
            if self.window > self.fft:
                raise ValueError(f"window must be at most fft, {self.fft}, not {self.window}")
            if self.coefficients > self.mels:
                raise ValueError(f"coefficients must be at most mels, {self.mels}, not {self.coefficients}")
            if self.f_min >= self.f_max:
                raise ValueError(f"f_min must be below f_max, {self.f_max:g}, not {self.f_min:g}")
            return self

    ARCHIVE = Archive((Remote("speech_commands_v0.02.tar.gz", URLS, PAGE, size=2428923189,
                              sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"),),
                      "speech_commands_v0.02", inside=True)
    COUNTS = {"train": 84843, "validation": 9981, "test": 11005}

    def __init__(self, options: Options) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        o = self.options
        frames = 1 + (RATE + 2 * (o.padding // 2) - o.fft) // o.hop
        return InputSpec((frames, o.coefficients, 1), o.bits, constant=True), o.steps, len(WORDS)

    def prepare(self, sources: Sources) -> PreparedData:
        """Read, transform, encode -> PreparedData."""
        from tqdm import tqdm
        o, (spec, steps, classes) = self.options, self.describe()
        folder = Path(sources.folder("speech_commands", self.ARCHIVE, o.official))
        _, paths, labels = class_folders(folder, WORDS, {".wav"})
        part_of: dict[str, str] = {}
        for part, name in LISTS.items():
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name} is missing: it must name the clips of the {part} part")
            part_of |= dict.fromkeys(lines_of(folder / name), part)
        mine = np.array([part_of.get(path.relative_to(folder).as_posix(), "train") for path in paths])
        index = {part: np.flatnonzero(mine == part) for part in PARTS}
        for part in PARTS:
            check_count(folder, f"clips of the {part} part", len(index[part]), self.COUNTS[part], o.official)
        stream = in_order(partial(read_clip, options=o), paths, sources.workers)
        values = np.stack(list(tqdm(stream, desc="cepstra", total=len(paths), unit="clip", mininterval=1)))
        lo, hi = np.quantile(values[index["train"]], (0.001, 0.999), axis=(0, 1))
        codes = np.clip(np.rint((values - lo) / np.maximum(hi - lo, 1e-6) * spec.max_code), 0, spec.max_code).astype(np.uint8)
        counts = ", ".join(f"{part} {len(index[part])}" for part in PARTS)
        about = {"name": "Speech Commands V2", "source": f"{URLS[0]} (Warden 2018)", "licence": "CC BY 4.0", "images": len(paths),
                 "split": f"{'official' if o.official else 'that of the lists, which are not the published ones'}: {counts}",
                 "scale": {"low": [float(v) for v in lo], "high": [float(v) for v in hi]}}
        return PreparedData(spec, steps, classes, {part: codes[index[part]][..., None] for part in PARTS},
                            {part: labels[index[part]] for part in PARTS}, about)
