"""Things break: processes are killed, disks fill, files are cut short, clocks jump. Nothing wrong comes out, nothing is lost."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from conftest import ROOT, not_run
from one_machine_slurm import Slurm, missing
from source_tree import SourceTree
from test_cli import cli, files, simulate  # noqa: F401
from test_pipeline import CONFIG, STUDY

pytestmark = pytest.mark.slow
BASE = "results/models/digits/tiny/lif/quick/s0"
MODEL = f"{BASE}/pretrain.safetensors"
NETWORK = f"{BASE}/ternary/none/network.safetensors"


class Tree(SourceTree):
    """A tree with a tiny study whose training takes some seconds."""
    def __init__(self, at, epochs=60):
        super().__init__(at)
        config = json.loads(json.dumps(CONFIG))
        config["pretraining"]["quick"]["training"]["epochs"] = epochs
        self.write(config, STUDY)

    def start(self, *arguments, **environment):
        """Snakemake in the background, in a session of its own; what it says goes to a file."""
        with open(self.at / "said", "w") as out:
            # Where the tests were started in the background, Ctrl-C is ignored by them and what they start.
            return subprocess.Popen(self.command(*arguments), cwd=self.at, start_new_session=True, stdout=out,
                                    stderr=subprocess.STDOUT, env={**os.environ, **environment},
                                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))

    def said(self):
        return (self.at / "said").read_text()

    def checkpoints(self):
        return list((self.at / "scratch").glob("[!.]*"))

    def digest(self, target=MODEL):
        return (self.at / target).read_bytes()


def until(ready, process=None, seconds=120):
    """Wait for something to be true -> its value."""
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end and (process is None or process.poll() is None), "it did not come to that"
        time.sleep(0.005)
    return found


def child(process, *words):
    """A process below one, whose command line has these words; None while there is none."""
    try:
        for of in psutil.Process(process.pid).children(recursive=True):
            try:
                line = of.cmdline()
            except psutil.Error:
                continue
            if all(any(word in part for part in line) for word in words) and "bash" not in line[0] and "-c" not in line[1:2]:
                return of
    except psutil.Error:
        pass
    return None


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A tree in which the training ran without a fault."""
    tree = Tree(tmp_path_factory.mktemp("undisturbed"))
    tree.snakemake(MODEL)
    return tree


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A tree in which a network of integers was made; tests take copies."""
    tree = Tree(tmp_path_factory.mktemp("exported"), epochs=4)
    tree.snakemake(NETWORK)
    return tree


def test_a_killed_training_is_tried_again_and_goes_on(undisturbed, tmp_path):
    """kill -9 of the training alone: Snakemake's next try continues from the checkpoint, to the same bits."""
    tree = Tree(tmp_path / "tree")
    process = tree.start(MODEL, "--retries", "1")
    until(tree.checkpoints, process)
    child(process, "spikeproof", "pretrain").kill()
    status, out = process.wait(120), tree.said()
    assert status == 0 and "died with <Signals.SIGKILL: 9>" in out and "continuing after epoch" in out, out[-3000:]
    assert tree.digest() == undisturbed.digest()


def test_a_killed_snakemake_leaves_its_job_which_harms_nobody(undisturbed, tmp_path):
    """kill -9 of Snakemake alone: its training lives on while the next Snakemake runs the same one; the bits are the same."""
    tree = Tree(tmp_path / "tree")
    process = tree.start(MODEL)
    until(tree.checkpoints, process)
    orphan = child(process, "spikeproof", "pretrain")
    process.send_signal(signal.SIGKILL)
    process.wait()
    orphan.suspend()                                                 # so that it does not end before the next one begins
    locked = tree.snakemake(MODEL, check=False)
    assert "--unlock" in locked and orphan.is_running()
    tree.snakemake("--unlock")
    orphan.resume()
    tree.snakemake(MODEL)
    psutil.wait_procs([orphan], 120)
    assert tree.digest() == undisturbed.digest() and not tree.checkpoints()
    assert not list((tree.at / BASE).glob(".*"))                      # no half-written file


@pytest.mark.parametrize("how", [("--signal=KILL", "--full"), ()], ids=["killed", "cancelled"])
def test_a_killed_slurm_job_is_tried_again_with_more(undisturbed, tmp_path, tmp_path_factory, how):
    """A running training is killed, or its job cancelled: the next job asks for more memory and time, and continues."""
    reason = missing()
    if reason:
        not_run(reason)
    tree = Tree(tmp_path / "tree")
    with Slurm(tmp_path_factory.mktemp("s") / "s") as slurm:
        process = tree.start(MODEL, "--workflow-profile", "workflow/profiles/slurm", "--latency-wait", "5",
                             "--slurm-init-seconds-before-status-checks", "2", **slurm.environment)
        until(tree.checkpoints, process)
        slurm.call("scancel", *how, "2")
        status, out = process.wait(300), tree.said()
        assert status == 0, out[-3000:]
        jobs = [line.split() for line in slurm.call("squeue", "-h", "-t", "all", "-o", "%i %T %m %l").stdout.splitlines()]
    assert "Trying to restart job" in out
    first, second = (next(job for job in jobs if job[0] == number) for number in ("2", "3"))
    assert first[1] in ("FAILED", "CANCELLED") and second[1] == "COMPLETED"
    assert (first[2], second[2]) in {("4000M", "8000M"), ("3815M", "7630M")} and (first[3], second[3]) == ("8:00:00", "16:00:00")
    log, = (tree.at / "results/logs/pretrain").rglob("*.log")
    assert "continuing after epoch" in log.read_text()
    assert tree.digest() == undisturbed.digest()


def test_a_killed_simulator_proves_nothing(files, tmp_path):  # noqa: F811
    """kill -9 of the simulation itself: no proof is written, and the next run writes it."""
    many = tmp_path / "many.safetensors"                            # images enough to be seen alive
    assert cli("prepare", "--config", '{"kind": "digits"}', "--out", many)[0] == 0
    out = tmp_path / "equivalence.json"
    command = [sys.executable, "-m", "spikeproof", "simulate", "--network", files / "network.safetensors", "--rtl", files / "rtl",
               "--data", many, "--out", out]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "hdl")])})
    until(lambda: child(process, "harness", "golden"), process, 300).kill()
    _, err = process.communicate()
    assert process.returncode == 1 and not out.exists()
    assert "the simulation was killed (signal 9, as when memory runs out): run this again" in err
    status, _, err = simulate(files)
    assert status == 0 and json.loads((files / "equivalence.json").read_text())["equal"], err


class FullDisk:
    """A file system of some kB, in memory."""
    def __init__(self, at, kilobytes):
        self.at = at
        at.mkdir()
        self._mount(kilobytes)

    def _mount(self, kilobytes, *options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={kilobytes}k", *options]), "tmpfs", str(self.at)],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            not_run(f"a small file system cannot be mounted here ({done.stderr.strip()})")

    def grow(self, kilobytes):
        self._mount(kilobytes, "remount")

    def close(self):
        subprocess.run(["umount", str(self.at)], check=True)


@pytest.fixture
def full_disk(tmp_path):
    disk = FullDisk(tmp_path / "disk", 300)
    yield disk
    disk.close()


def test_a_full_disk(files, full_disk):  # noqa: F811
    """Every stage that has no room says so, leaves what was there, and works when there is room."""
    at = full_disk.at
    for name in ("small.safetensors", "network.safetensors"):
        shutil.copy(files / name, at / name)
    kept = {path.name: path.read_bytes() for path in at.iterdir()}
    (at / "ballast").write_bytes(bytes(300_000 - sum(map(len, kept.values())) - 60_000))
    free = at.joinpath("rest")
    with pytest.raises(OSError):
        with open(free, "wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
    stages = {
        "prepare": ("--config", '{"kind": "digits"}', "--out", at / "data.safetensors"),
        "quantize": ("--data", files / "data.safetensors", "--model", files / "float.safetensors", "--config",
                     '{"kind": "ternary", "training": {"epochs": 1}}', "--out", at / "small.safetensors"),
        "export": ("--data", files / "data.safetensors", "--model", files / "small.safetensors",
                   "--out", at / "network.safetensors"),
        "generate": ("--network", files / "network.safetensors", "--out", at / "rtl")}
    for stage, arguments in stages.items():
        status, _, err = cli(stage, *arguments)
        assert status == 1 and "there is no room" in err and "free some, or put the folder on another disk" in err, (stage, err)
        assert err.count("error: ") == 1 and "Traceback" not in err
    assert {name: (at / name).read_bytes() for name in kept} == kept
    assert sorted(path.name for path in at.iterdir()) == sorted([*kept, "ballast", "rest"])
    full_disk.grow(20_000)
    for stage, arguments in stages.items():
        status, _, err = cli(stage, *arguments)
        assert status == 0, err


@pytest.mark.parametrize("part, message", [
    ("model", "delete it and run its stage again"),
    ("data", "delete it and run the prepare stage again"),
    ("network", "run the export stage again")])
def test_a_file_that_was_cut_short(exported, tmp_path, part, message):
    """Half of a file is gone: it is never taken for a whole one, and named with what to do."""
    tree = exported.copy(tmp_path / "tree")
    target = {"model": NETWORK, "data": MODEL, "network": f"{BASE}/ternary/none/core"}[part]
    path = tree.at / {"model": MODEL, "data": "results/data/digits.safetensors", "network": NETWORK}[part]
    before, whole = tree.digest(NETWORK), path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    out = tree.snakemake(target, check=False)
    assert f"{path.relative_to(tree.at)} is truncated" in out and message in out
    path.unlink()
    tree.snakemake(str(path.relative_to(tree.at)), target)
    tree.snakemake(NETWORK)
    assert path.read_bytes() == whole and tree.digest(NETWORK) == before


def test_a_checkpoint_that_was_cut_short(undisturbed, tmp_path):
    """It is dropped, and the training starts again."""
    tree = Tree(tmp_path / "tree")
    process = tree.start(MODEL)
    until(tree.checkpoints, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    path, = tree.checkpoints()
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    tree.snakemake("--unlock")
    out = tree.snakemake(MODEL)
    assert "training starts again from the first epoch" in out and "continuing" not in out
    assert tree.digest() == undisturbed.digest()


@pytest.mark.parametrize("at", ["checkpoint", "end"])
def test_an_interrupted_run_goes_on(undisturbed, tmp_path, at):
    """Ctrl-C in the middle of a training, and after a stage wrote its file, before Snakemake noted it: the same command goes on."""
    tree = Tree(tmp_path / "tree", epochs=60 if at == "checkpoint" else 4)
    process = tree.start(MODEL)
    until(tree.checkpoints if at == "checkpoint" else (tree.at / MODEL).exists, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) != 0 and "What finished is kept: run the same command again" in tree.said()
    assert ("continuing after epoch" in tree.snakemake(MODEL)) == (at == "checkpoint")
    if at == "checkpoint":
        assert tree.digest() == undisturbed.digest()
    assert "Nothing to be done" in tree.snakemake(MODEL) and not tree.checkpoints()


def test_two_snakemakes_at_once(undisturbed, tmp_path):
    """The second one in a folder is refused and says why; the first one does not notice."""
    tree = Tree(tmp_path / "tree")
    process = tree.start(MODEL)
    until(tree.checkpoints, process)
    training = child(process, "spikeproof", "pretrain")
    training.suspend()
    second = tree.snakemake(MODEL, check=False)
    training.resume()
    assert "Directory cannot be locked" in second
    assert process.wait(120) == 0 and tree.digest() == undisturbed.digest()


@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_jumps(exported, tmp_path, days):
    """All files are dated a year off: what is there is still whole and the same, and a change reruns what it changes, once."""
    tree = exported.copy(tmp_path / "tree")
    before = tree.digest(NETWORK)
    then = time.time() + days * 86400
    for path in (tree.at / "results").rglob("*"):
        at = path.stat().st_mtime + then - time.time()              # each as far off as the others
        os.utime(path, (at, at))
    assert "Nothing to be done" in tree.snakemake(NETWORK) and tree.digest(NETWORK) == before
    config = yaml.safe_load((tree.at / "config" / "config.yaml").read_text())
    config["quantizers"]["ternary"]["membrane"]["bits"] = 8
    tree.write(config)
    out = tree.snakemake(NETWORK)
    assert "quantize" in out and tree.digest(NETWORK) != before
    after = tree.digest(NETWORK)
    assert "Nothing to be done" in tree.snakemake(NETWORK) and tree.digest(NETWORK) == after


def test_a_worker_without_a_compiler(tmp_path):
    """Everything but the proof is made; the message says what to install; with it the rest is done."""
    tree = Tree(tmp_path / "tree", epochs=2)
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("bash", "sh", "env", "make", "git", "uname", "id", "cat", "which"):
        if shutil.which(name):
            (bare / name).symlink_to(shutil.which(name))
    target = f"{BASE}/ternary/none/equivalence.json"
    out = tree.snakemake(target, check=False, PATH=str(bare))
    assert "install a C++ compiler and make (Debian: apt-get install g++ make)" in out
    assert (tree.at / BASE / "ternary/none/core/core.v").exists() and not (tree.at / target).exists()
    out = tree.snakemake(target)
    assert json.loads((tree.at / target).read_text())["equal"] and "[pretrain" not in out
