"""Where a dataset's files come from: a folder of the user's that is looked at first, else a download.

A download continues where it stopped, is checked, and takes its name only when it is whole.
"""
from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..files import CorruptFile, room

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..annotations import Say, StrPath

__all__ = ["Archive", "Missing", "Remote", "Sources", "check_count", "lines_of", "unpack"]

BLOCK = 1 << 20
#: Bytes that are kept at once: what comes after the last of them is lost when a connection breaks.
RECEIVED = 1 << 16
DAMAGED = (EOFError, LZMAError, OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


class Missing(FileNotFoundError):
    """Files of a dataset are not there; the message says which, where they belong and where they can be had."""


@dataclass(frozen=True)
class Remote:
    """A published file.

    Members
    -------
    name : str, its name
    urls : tuple of str, addresses to try in turn; none where the publisher wants a form filled in, or a login
    page : str, the publisher's page
    md5, sha256 : str or None, as published
    size : int, bytes, or None
    """
    name: str
    urls: tuple[str, ...]
    page: str
    md5: str | None = None
    sha256: str | None = None
    size: int | None = None

    @property
    def digest(self) -> tuple[str, str] | None:
        """(name of the algorithm, published digest), or None."""
        if self.sha256:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 else None


@dataclass(frozen=True)
class Archive:
    """A published archive and the folder that comes out of it.

    Members
    -------
    remotes : tuple of Remote; all are unpacked into one place
    folder : str, what is there afterwards, relative to the dataset's folder
    inside : bool, whether the archives have no such folder themselves, and are unpacked into it
    """
    remotes: tuple[Remote, ...]
    folder: str
    inside: bool = False


def check_count(place: StrPath, what: str, found: int, published: int, official: bool) -> None:
    """CorruptFile where there are not as many samples as were published; files of one's own may have any number above none."""
    if not found:
        raise CorruptFile(f"{place} must have {published} {what}, or some of your own with `official: false`, but has none")
    if found != published and official:
        raise CorruptFile(f"{place} must have {published} {what}, not {found}; set `official: false` to use files of your own")


def lines_of(path: StrPath) -> list[str]:
    """The lines of a text file that are not blank, without white space around them.

    Raises
    ------
    CorruptFile
        If it is not UTF-8.
    """
    try:
        return [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise CorruptFile(f"{path} must be UTF-8 text") from None


def _digest(path: Path, algorithm: str, label: str) -> str:
    total = hashlib.new(algorithm)
    with open(path, "rb") as file, tqdm(total=path.stat().st_size, desc=f"check {label}", unit="B", unit_scale=True,
                                        mininterval=1, leave=False) as bar:
        while block := file.read(BLOCK):
            total.update(block)
            bar.update(len(block))
    return total.hexdigest()


def _fetch(url: str, part: Path, remote: Remote) -> None:
    """Download into ``part``, from its end on where the server can."""
    import requests
    # Without a digest nothing would tell that what is there belongs to what comes.
    have = part.stat().st_size if part.exists() and remote.digest else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "spikeproof"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=(20, 60)) as answer:
        if answer.status_code == 416:                       # nothing behind what is there
            return
        answer.raise_for_status()
        if answer.status_code not in (200, 206):
            raise requests.HTTPError(f"status {answer.status_code} without the file")
        if answer.status_code == 200:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else remote.size
        with open(part, "ab" if have else "wb") as file, room(part.with_suffix(""), total), \
                tqdm(total=total, initial=have, desc=f"download {remote.name}", unit="B", unit_scale=True, mininterval=1) as bar:
            for block in answer.iter_content(RECEIVED):
                file.write(block)
                bar.update(len(block))
            file.flush()
            if total and file.tell() != total:
                raise requests.ConnectionError(f"ended after {file.tell()} of {total} bytes")


class Sources:
    """Finds the files of datasets.

    Parameters
    ----------
    data_dir : folder with a folder for each dataset
    download : bool, whether files that are absent may be fetched
    workers : int, processes that decode files
    say : function of a sentence
    """
    def __init__(self, data_dir: StrPath = "data", download: bool = True, workers: int = 1, say: Say = print) -> None:
        self.data_dir, self.download, self.workers, self.say = Path(data_dir), download, workers, say
        if self.data_dir.exists() and not self.data_dir.is_dir():
            raise ValueError(f"the data folder must be a folder, but {data_dir} is a file")

    def find(self, folder: str, *names: str) -> Path | None:
        """The first of some files or folders that is there, in the dataset's folder, or None."""
        return next((place for name in names if (place := self.data_dir / folder / name).exists()), None)

    def file(self, folder: str, remote: Remote, official: bool = True) -> Path:
        """A published file -> Path: the user's own, else a download.

        Parameters
        ----------
        folder : str, the dataset's
        official : bool; check the user's own file against the published digest

        Raises
        ------
        Missing
            If it is not there and cannot be downloaded.
        CorruptFile
            If it is not the published file.
        """
        place = self.find(folder, remote.name)
        if place is None:
            return self._get(folder, remote)
        if official and remote.digest:
            algorithm, expected = remote.digest
            found = _digest(place, algorithm, remote.name)
            if found != expected:
                raise CorruptFile(f"{place} is not the published file (its {algorithm} is {found}, published is {expected}): "
                                  "move it away to have it fetched again, or set `official: false` to use files of your own")
        return place

    def folder(self, folder: str, archive: Archive, official: bool = True) -> Path:
        """The folder of an archive -> Path: the user's own, else unpacked from the user's own archive or a download.

        Raises
        ------
        Missing, CorruptFile
            As :meth:`file`; or if an archive is damaged.
        """
        place = self.find(folder, archive.folder)
        if place is not None:
            return place
        target = self.data_dir / folder / archive.folder
        try:
            sources = [self.file(folder, remote, official) for remote in archive.remotes]
        except Missing as error:
            raise Missing(f"{error}; or put what is unpacked at {target}") from None
        with self._locked(target):
            if not target.exists():                         # nobody else has unpacked it meanwhile
                with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as work:
                    into = Path(work) / archive.folder if archive.inside else Path(work)
                    for source in sources:
                        unpack(source, into)
                    out = Path(work) / archive.folder
                    if not out.is_dir():
                        raise CorruptFile(f"{', '.join(map(str, sources))} must hold a folder {archive.folder}, but does not")
                    os.replace(out, target)
        return target

    @staticmethod
    @contextmanager
    def _locked(target: Path) -> Iterator[None]:
        """A file or folder that one process at a time makes."""
        from filelock import FileLock
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{target}.lock")
            lock.acquire()
        except OSError as error:
            raise OSError(error.errno, f"{target} cannot be made ({error.strerror}): the data folder must be one that can be "
                          "written to, unless it has all files, unpacked") from None
        try:
            yield
        finally:
            lock.release()
            if target.exists():                             # else whoever waits needs the same lock as those who come
                Path(f"{target}.lock").unlink(missing_ok=True)

    def _get(self, folder: str, remote: Remote) -> Path:
        """Download a file -> Path."""
        import requests
        target = self.data_dir / folder / remote.name
        by_hand = f"get it from {remote.page} and put it at {target}"
        if not remote.urls or not self.download:
            why = "downloads are switched off" if remote.urls else "its publisher gives it on request only"
            raise Missing(f"{target} is missing, and {why}: {by_hand}")
        part = target.with_name(f"{target.name}.part")
        with self._locked(target):
            if target.exists():                             # somebody else has fetched it meanwhile
                return target
            errors = []
            for url in remote.urls:
                self.say(f"downloading {url}")
                try:
                    _fetch(url, part, remote)
                except requests.RequestException as error:
                    errors.append(f"{url}: {' '.join(str(error).split())[:200]}")
                    continue
                if remote.digest:
                    algorithm, expected = remote.digest
                    found = _digest(part, algorithm, remote.name)
                    if found != expected:
                        part.unlink()
                        errors.append(f"{url}: what came is not the published file (its {algorithm} is {found}, published is "
                                      f"{expected})")
                        continue
                os.replace(part, target)
                break
            else:
                if not remote.digest:
                    part.unlink(missing_ok=True)
                raise Missing(f"{remote.name} could not be downloaded ({'; '.join(errors)}): try again later, which continues "
                              f"where this stopped, or {by_hand}")
        return target


def unpack(archive: StrPath, into: StrPath) -> None:
    """Unpack a tar or zip archive into a folder, with a progress bar.

    Raises
    ------
    CorruptFile
        If it is no archive, or damaged.
    OSError
        If the disk has no room.
    """
    archive, into = Path(archive), Path(into)
    into.mkdir(parents=True, exist_ok=True)
    label = f"unpack {archive.name}"
    file: zipfile.ZipFile | tarfile.TarFile
    member: zipfile.ZipInfo | tarfile.TarInfo
    with room(into):
        try:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as file:
                    for member in tqdm(file.infolist(), desc=label, unit="file", mininterval=1):
                        file.extract(member, into)
            else:
                with tarfile.open(archive) as file:
                    for member in tqdm(file, desc=label, unit="file", mininterval=1):
                        file.extract(member, into, filter="data")
        except DAMAGED as error:
            shutil.rmtree(into, ignore_errors=True)
            if isinstance(error, OSError) and not isinstance(error, tarfile.TarError) and error.errno:
                raise
            raise CorruptFile(f"{archive} is truncated or no archive ({' '.join(str(error).split())[:150]}): delete it and run "
                              "prepare again") from None
