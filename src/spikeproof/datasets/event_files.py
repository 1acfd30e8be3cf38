"""Native files of event cameras: addresses, polarities and times in microseconds, from four formats.

Written from the formats' descriptions. The readers that install from PyPI are under the GPL (tonic, loris, event-stream), read
other formats (aedat: AEDAT 4) or refuse these files (evlib 0.13).
"""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..files import CorruptFile

if TYPE_CHECKING:
    from ..annotations import StrPath

__all__ = ["DatFile", "Events", "check_events", "read_aedat2", "read_aedat3", "read_dat", "read_events40"]

REMEDY = "get the file again"


class Events(NamedTuple):
    """A recording.

    Members
    -------
    t : int64 [N], microseconds, ascending
    x, y : uint16 [N], pixels; row 0 is the upper one
    p : uint8 [N], 0 off (darker), 1 on (brighter)
    """
    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray

    def between(self, begin: int, end: int) -> Events:
        """Those of begin <= t < end."""
        first, last = np.searchsorted(self.t, (begin, end))
        return Events(*(values[first:last] for values in self))


def check_events(events: Events, path: StrPath, sensor: tuple[int, int]) -> Events:
    """The recording, if it has events, all on a sensor (height, width) and in the order of time.

    Raises
    ------
    CorruptFile
        Else; the sentence names file, event and what is wrong.
    """
    height, width = sensor
    if not len(events.t):
        raise CorruptFile(f"{path} has no events: {REMEDY}, or leave it out")
    if events.x.max() >= width or events.y.max() >= height:
        n = int(np.argmax((events.x >= width) | (events.y >= height)))
        raise CorruptFile(f"{path}: event {n} is at x {events.x[n]}, y {events.y[n]}, outside the sensor of {width} x {height}: "
                          f"{REMEDY}")
    back = events.t[1:] < events.t[:-1]
    if back.any():
        n = int(back.argmax())
        raise CorruptFile(f"{path}: event {n + 1} at {events.t[n + 1]} us comes after one at {events.t[n]} us; events must be in "
                          f"the order of time: {REMEDY}")
    return events


def read_events40(path: StrPath) -> Events:
    """N-MNIST's and N-Caltech101's files: 40 bits an event, x, y, polarity, 23 bits of time, big-endian (Orchard et al., 2015).

    Rows beyond any sensor (y = 240) are marks of the recording, not events; they are left out.

    Raises
    ------
    CorruptFile
        If the file does not consist of whole events.
    """
    raw = np.fromfile(path, np.uint8)
    if len(raw) % 5:
        raise CorruptFile(f"{path} must have 5 bytes an event, but has {len(raw)} bytes: {REMEDY}")
    raw = raw.reshape(-1, 5)
    raw = raw[raw[:, 1] != 240] if (raw[:, 1] == 240).any() else raw
    t = (raw[:, 2] & 127).astype(np.int64) << 16 | raw[:, 3].astype(np.int64) << 8 | raw[:, 4]
    return Events(t, raw[:, 0].astype(np.uint16), raw[:, 1].astype(np.uint16), raw[:, 2] >> 7)


def _after_comments(raw: bytes, path: StrPath, mark: bytes, what: str) -> int:
    """Length of the lines at the beginning that start with a mark."""
    at = 0
    while raw[at:at + 1] == mark:
        end = raw.find(b"\n", at)
        if end < 0:
            raise CorruptFile(f"{path} must be {what}, but ends within its header: {REMEDY}")
        at = end + 1
    return at


def read_aedat2(path: StrPath) -> Events:
    """AEDAT 2.0 of a DVS128 (iniVation): lines with #, then big-endian addresses and times of 32 bits each.

    Bit 0 of the address is 0 for an on event, bits 1 to 7 are x from the right, bits 8 to 14 are y from below (jAER's DVS128,
    with which CIFAR10-DVS is to be read); bit 15 and above mark special events, which are left out. Here row 0 is the upper
    one and column 0 the left one.

    Raises
    ------
    CorruptFile
        If there is no such header, or the rest does not consist of whole events.
    """
    raw = Path(path).read_bytes()
    if not raw.startswith(b"#!AER-DAT2.0"):
        raise CorruptFile(f"{path} must begin with #!AER-DAT2.0, not {raw[:12]!r}: {REMEDY}")
    at = _after_comments(raw, path, b"#", "an AEDAT 2.0 file")
    if (len(raw) - at) % 8:
        raise CorruptFile(f"{path} must have 8 bytes an event after its header, but has {len(raw) - at} bytes: {REMEDY}")
    words = np.frombuffer(raw, ">u4", offset=at).reshape(-1, 2).astype(np.int64)
    words = words[words[:, 0] < 1 << 15]
    address, t = words[:, 0], words[:, 1]
    return Events(t, (127 - (address >> 1 & 127)).astype(np.uint16), (127 - (address >> 8 & 127)).astype(np.uint16),
                  (1 - (address & 1)).astype(np.uint8))


def read_aedat3(path: StrPath) -> Events:
    """AEDAT 3.1 (iniVation), polarity events: packets of a 28-byte header and events of 8 bytes, little-endian.

    An event's first word: bit 0 valid, bit 1 polarity, bits 2 to 16 y, bits 17 to 31 x; the second the time. Packets of other
    types, and events that are not valid, are left out.

    Raises
    ------
    CorruptFile
        If there is no such header, or a packet is cut short.
    """
    raw = Path(path).read_bytes()
    if not raw.startswith(b"#!AER-DAT3.1"):
        raise CorruptFile(f"{path} must begin with #!AER-DAT3.1, not {raw[:12]!r}: {REMEDY}")
    end = raw.find(b"#!END-HEADER")
    if end < 0:
        raise CorruptFile(f"{path} must be an AEDAT 3.1 file, but has no #!END-HEADER: {REMEDY}")
    at, parts = raw.find(b"\n", end) + 1, []
    while at < len(raw):
        head = raw[at:at + 28]
        kind = int.from_bytes(head[:2], "little")
        size, _, overflow, capacity, number, _ = np.frombuffer(head[4:28], "<i4") if len(head) == 28 else (0,) * 6
        at += 28
        if len(head) < 28 or size < 8 or not 0 <= number <= capacity or at + int(size) * int(capacity) > len(raw):
            raise CorruptFile(f"{path}: the packet at byte {at - 28} is cut short or damaged: {REMEDY}")
        if kind == 1 and number:
            words = np.frombuffer(raw, "<u4", 2 * number, at).reshape(-1, 2)
            words = words[words[:, 0] & 1 == 1]
            parts.append((words[:, 1].astype(np.int64) + (int(overflow) << 31), words[:, 0]))
        at += int(size) * int(capacity)
    t, data = (np.concatenate(each) for each in zip(*parts)) if parts else (np.zeros(0, np.int64), np.zeros(0, np.uint32))
    return Events(t, (data >> 17).astype(np.uint16), (data >> 2 & 0x7FFF).astype(np.uint16), (data >> 1 & 1).astype(np.uint8))


class DatFile:
    """Prophesee's DAT: lines with %, a byte of type and one of size, then times and addresses of 32 bits each, little-endian.

    Version 2: x in bits 0 to 13, y in bits 14 to 27, polarity in bit 28. Without a Version line, x in bits 0 to 8, y in bits 9
    to 16, polarity in bit 17 (as in the maker's ``load_atis_data``). The events are a map of the file, so that a recording of
    any length can be read piece by piece.

    Raises
    ------
    CorruptFile
        If the header is none, or the rest does not consist of whole events.
    """
    def __init__(self, path: StrPath) -> None:
        self.path = path
        with open(path, "rb") as file:
            head = file.read(1 << 16)
        start = _after_comments(head, path, b"%", "a DAT file")
        version = 0
        for line in head[:start].decode("latin-1").splitlines():
            words = line.split()
            if len(words) >= 3 and words[1].lower() == "version":
                version = int(words[2]) if words[2].isdecimal() else 0
        self.new = version >= 2
        if start:
            kind, size = head[start:start + 2].ljust(2, b"\xff")
            start += 2
            if kind not in (0, 12) or size != 8:
                raise CorruptFile(f"{path} must have change events of 8 bytes, not type {kind} of {size} bytes: {REMEDY}")
        length = Path(path).stat().st_size - start
        if not start:
            raise CorruptFile(f"{path} must begin with lines of %, but begins with {head[:8]!r}: {REMEDY}")
        if length < 0 or length % 8:
            raise CorruptFile(f"{path} must have 8 bytes an event after its header, but has {length} bytes: {REMEDY}")
        self.words = np.memmap(path, "<u4", "r", start, (length // 8, 2)) if length else np.zeros((0, 2), np.uint32)

    def __len__(self) -> int:
        return len(self.words)

    def read(self, first: int = 0, last: int | None = None) -> Events:
        """Events first to last (not included)."""
        words = np.asarray(self.words[first:last])
        address = words[:, 1]
        x, y, p = (address & 0x3FFF, address >> 14 & 0x3FFF, address >> 28 & 1) if self.new else \
            (address & 0x1FF, address >> 9 & 0xFF, address >> 17 & 1)
        return Events(words[:, 0].astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8))

    def position(self, t: int) -> int:
        """Number of the first event at or after a time in microseconds (the file must be in the order of time)."""
        return int(np.searchsorted(self.words[:, 0], t))


def read_dat(path: StrPath) -> Events:
    """A whole DAT file (:class:`DatFile`) -> Events."""
    return DatFile(path).read()
