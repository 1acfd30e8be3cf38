"""Outside programs: started many at a time, and what of them is kept."""
import itertools
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from spikeproof_hdl import tools
from spikeproof_hdl.cosim import Simulator, write_golden
from spikeproof_hdl.export import export_core
from spikeproof_hdl.plan import CorePlan
from strategies import random_frames, small_network

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


def test_verilator_s_library_is_compiled_once(tmp_path, monkeypatch):
    plan = CorePlan.of(small_network(), 4)
    export_core(plan, tmp_path / "core")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_golden(plan, random_frames(plan.net, 2), tmp_path / "golden")
    compiled = []
    for work in (tmp_path / "first", tmp_path / "second"):
        simulator = Simulator(plan, tmp_path / "core", work)
        compiled.append(sum(" -c -o verilated" in line for line in (work / "fast.log").read_text().splitlines()))
        assert simulator.compare(tmp_path / "golden", 2)["status"] == "equal"
    assert compiled == [2, 0]


def test_a_library_that_is_not_whole_or_another_is_compiled_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    numbers = itertools.count()

    def built(*options):
        """Whether a build finds the library; one that does not makes it, in a work folder of its own."""
        build = tmp_path / f"build{next(numbers)}"
        with tools.runtime_kept(build, *options) as kept:
            found = [*build.iterdir()]
            assert kept == (["-MAKEFLAGS", "-o verilated.o"] if found else [])
            if found:
                assert (build / "verilated.o").read_text() == "library"
            (build / "verilated.o").write_text("library")
        return bool(found)
    assert [built("-O1"), built("-O1"), built("-O2"), built("-O2")] == [False, True, False, True]
    for path in (tmp_path / "cache" / "spikeproof").glob("verilator-*/*.o"):
        path.write_text("libr")
    assert [built("-O1"), built("-O1")] == [False, True]
    monkeypatch.setenv("CXX", "g++ -DOTHER")
    assert [built("-O1"), built("-O1")] == [False, True]
    with pytest.raises(RuntimeError), tools.runtime_kept(tmp_path / "failed", "-O3"):
        raise RuntimeError
    assert not built("-O3")                                          # a build that fails leaves nothing
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "build0" / "verilated.o"))
    assert [built("-O1"), built("-O1")] == [False, False]            # nothing can be kept in a file
