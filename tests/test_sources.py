"""Downloads from a server on this machine: progress, resume, digests, mirrors, archives; nothing stays half-written."""
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from spikeproof.datasets.sources import Archive, Missing, Remote, Sources, unpack
from spikeproof.files import CorruptFile

BODY = bytes(range(256)) * 8192                                      # 2 MiB


class Handler(BaseHTTPRequestHandler):
    """Serves server.files; ``server.cut`` bytes at most for each of the first ``server.cuts`` answers."""
    def do_GET(self):
        server = self.server
        server.seen.append((self.path, self.headers.get("Range")))
        body = server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = 0
        if server.ranges and (given := self.headers.get("Range")):
            start = int(re.fullmatch(r"bytes=(\d+)-", given)[1])
            if start >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        part = body[start:]
        if server.cuts:
            server.cuts -= 1
            part = part[:server.cut]
        self.wfile.write(part)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.seen, server.ranges, server.cut, server.cuts = {"/a.bin": BODY}, [], True, 700_000, 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


def remote(server, *paths, digest=True, **given):
    return Remote("a.bin", tuple(server.url + path for path in paths or ("/a.bin",)), "https://example.org/page",
                  sha256=hashlib.sha256(BODY).hexdigest() if digest else None, **given)


def left(tmp_path):
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


def test_download_is_whole_and_shows_progress(server, tmp_path, capsys):
    path = Sources(tmp_path).file("set", remote(server))
    assert path == tmp_path / "set" / "a.bin" and path.read_bytes() == BODY and left(tmp_path) == ["set/a.bin"]
    assert "download a.bin: 100%" in capsys.readouterr().err
    Sources(tmp_path).file("set", remote(server))
    assert len(server.seen) == 1                                     # it is there now


def test_own_files_come_first(server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bin").write_bytes(BODY)
    assert Sources(tmp_path).file("set", remote(server)) == tmp_path / "set" / "a.bin"
    assert server.seen == []


def test_files_of_another_dataset_are_not_taken(server, tmp_path):
    (tmp_path / "other").mkdir()
    for place in (tmp_path, tmp_path / "other"):
        (place / "a.bin").write_bytes(b"another")
    assert Sources(tmp_path).file("set", remote(server)).read_bytes() == BODY


def test_interrupted_download_continues(server, tmp_path):
    server.cuts = 2
    for _ in range(2):
        with pytest.raises(Missing, match=r"a.bin could not be downloaded \(.*\): try again later, which continues where"):
            Sources(tmp_path).file("set", remote(server))
        assert left(tmp_path) == ["set/a.bin.lock", "set/a.bin.part"]      # never under its name
    assert Sources(tmp_path).file("set", remote(server)).read_bytes() == BODY
    # What came is kept but for the last incomplete 64 kB.
    assert [given for _, given in server.seen] == [None, f"bytes={10 << 16}-", f"bytes={20 << 16}-"]
    assert left(tmp_path) == ["set/a.bin"]


def test_server_without_ranges_sends_all_again(server, tmp_path):
    server.cuts, server.ranges = 1, False
    with pytest.raises(Missing):
        Sources(tmp_path).file("set", remote(server))
    assert Sources(tmp_path).file("set", remote(server)).read_bytes() == BODY


def test_without_a_digest_nothing_is_continued(server, tmp_path):
    server.cuts = 1
    with pytest.raises(Missing):
        Sources(tmp_path).file("set", remote(server, digest=False))
    assert "set/a.bin.part" not in left(tmp_path)
    assert Sources(tmp_path).file("set", remote(server, digest=False)).read_bytes() == BODY
    assert [given for _, given in server.seen] == [None, None]


def test_altered_download_is_thrown_away(server, tmp_path):
    server.files["/a.bin"] = BODY[:-1] + b"?"
    with pytest.raises(Missing, match=r"what came is not the published file \(its sha256 is [0-9a-f]+, published"):
        Sources(tmp_path).file("set", remote(server))
    assert [name for name in left(tmp_path) if not name.endswith(".lock")] == []


def test_part_of_another_file_is_thrown_away(server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bin.part").write_bytes(b"x" * 1000)
    with pytest.raises(Missing, match="not the published file"):
        Sources(tmp_path).file("set", remote(server))
    assert Sources(tmp_path).file("set", remote(server)).read_bytes() == BODY


def test_next_address_is_tried(server, tmp_path):
    assert Sources(tmp_path).file("set", remote(server, "/gone.bin", "/a.bin")).read_bytes() == BODY
    assert [path for path, _ in server.seen] == ["/gone.bin", "/a.bin"]


def test_failure_says_what_to_do(server, tmp_path):
    with pytest.raises(Missing) as error:
        Sources(tmp_path).file("set", remote(server, "/gone.bin"))
    text = str(error.value)
    assert "404" in text and text.endswith(f"get it from https://example.org/page and put it at {tmp_path / 'set' / 'a.bin'}")
    assert "\n" not in text


def test_offline_says_what_to_do(server, tmp_path):
    with pytest.raises(Missing, match="is missing, and downloads are switched off: get it from https://example.org/page and"):
        Sources(tmp_path, download=False).file("set", remote(server))
    with pytest.raises(Missing, match="its publisher gives it on request only: get it from"):
        Sources(tmp_path).file("set", Remote("b.bin", (), "https://example.org"))
    assert server.seen == [] and left(tmp_path) == []


def test_own_file_that_is_not_the_published_one(server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.bin").write_bytes(b"mine")
    with pytest.raises(CorruptFile, match="is not the published file .*: move it away to have it fetched again, or set"):
        Sources(tmp_path).file("set", remote(server))
    assert Sources(tmp_path).file("set", remote(server), official=False).read_bytes() == b"mine"


def packed(kind, names):
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as file:
            for name in names:
                file.writestr(name, name * 100)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode=f"w:{kind}") as file:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 100 * len(name)
            file.addfile(info, io.BytesIO(name.encode() * 100))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["zip", "gz", "xz"])
@pytest.mark.parametrize("inside", [False, True])
def test_archive_is_fetched_and_unpacked_once(server, tmp_path, kind, inside):
    body = packed(kind, ["x.txt", "sub/y.txt"] if inside else ["top/x.txt", "top/sub/y.txt"])
    server.files["/a.bin"] = body
    archive = Archive((Remote("a.bin", (f"{server.url}/a.bin",), "p", md5=hashlib.md5(body).hexdigest()),), "top", inside)
    for _ in range(2):
        folder = Sources(tmp_path).folder("set", archive)
        assert folder == tmp_path / "set" / "top" and left(folder) == ["sub/y.txt", "x.txt"]
    assert len(server.seen) == 1 and left(tmp_path) == ["set/a.bin", "set/top/sub/y.txt", "set/top/x.txt"]


@pytest.mark.parametrize("kind", ["zip", "gz", "xz"])
def test_damaged_archive_leaves_nothing(tmp_path, kind):
    body = packed(kind, [f"top/{k}.txt" for k in range(500)])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.tar").write_bytes(body[:len(body) // 2])
    with pytest.raises(CorruptFile, match="a.tar is truncated or no archive .*: delete it and run prepare again"):
        Sources(tmp_path).folder("set", Archive((Remote("a.tar", (), "p"),), "top"))
    assert [name for name in left(tmp_path) if not name.endswith(".lock")] == ["set/a.tar"]


def test_archive_of_something_else(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.tar").write_bytes(packed("gz", ["other/x.txt"]))
    with pytest.raises(CorruptFile, match="must hold a folder top, but does not"):
        Sources(tmp_path).folder("set", Archive((Remote("a.tar", (), "p"),), "top"))


def test_archive_cannot_write_elsewhere(tmp_path):
    (tmp_path / "a.tar").write_bytes(packed("gz", ["../../evil.txt"]))
    with pytest.raises(CorruptFile):
        unpack(tmp_path / "a.tar", tmp_path / "deep" / "er")
    assert not (tmp_path / "evil.txt").exists() and not list(tmp_path.rglob("evil*"))


def test_two_at_once_fetch_once(server, tmp_path):
    threads = [threading.Thread(target=Sources(tmp_path).file, args=("set", remote(server))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.seen) == 1 and (tmp_path / "set" / "a.bin").read_bytes() == BODY
