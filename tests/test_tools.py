"""Outside programs, started many at a time."""
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from spikeproof_hdl import tools

#: As YoWASP's programs do: machine code is read where there is some, else made, and written where all look.
PROGRAM = """#!{python}
import os, pathlib, sys, time
kept = pathlib.Path(os.environ.get("YOWASP_CACHE_DIR", {default!r})) / "package" / "code"
if kept.exists():
    sys.exit(0 if kept.read_text() == "whole" else -7 % 256)
kept.parent.mkdir(parents=True, exist_ok=True)
with kept.open("w") as file:
    for letter in "whole":
        time.sleep(0.2)
        file.write(letter)
        file.flush()
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program beside this Python that is prepared when it first runs, and no cache of anything."""
    place = tmp_path / "bin" / "yowasp-some"
    place.parent.mkdir()
    place.write_text(PROGRAM.format(python=sys.executable, default=str(tmp_path / "default")))
    place.chmod(place.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(place.parent / "python"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("YOWASP_CACHE_DIR", raising=False)
    tools._translated.cache_clear()
    yield place
    tools._translated.cache_clear()


def at_once(work, count=6):
    with ThreadPoolExecutor(count) as pool:
        return [*pool.map(work, range(count))]


def test_programs_that_start_together_find_their_machine_code_whole(program, tmp_path):
    """Two jobs of a study start yosys at the same time on a new machine: what one writes the other must not read half."""
    at_once(lambda _: tools.run([str(program)], tmp_path))
    kept, = (tmp_path / "cache" / "spikeproof" / "yowasp").iterdir()
    assert (kept / "package" / "code").read_text() == "whole" and not (tmp_path / "default").exists()
    before = os.stat(kept / "package" / "code").st_mtime_ns
    tools._translated.cache_clear()
    tools.run([program], tmp_path)                                   # made once
    assert os.stat(kept / "package" / "code").st_mtime_ns == before


def test_programs_write_where_nothing_can_be_kept(program, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    tools.run([program], tmp_path)
    assert (tmp_path / "default" / "package" / "code").read_text() == "whole"


def test_the_program_of_these_tests_dies_of_what_is_half_written(program, tmp_path):
    first = subprocess.Popen([program])
    while not (tmp_path / "default" / "package" / "code").exists():
        pass
    assert subprocess.run([program], check=False).returncode and first.wait() == 0
