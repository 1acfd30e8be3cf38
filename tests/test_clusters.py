"""Profiles for clusters and GPUs: what they say is what Snakemake takes, and jobs get what they ask for."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, not_run
from one_machine_slurm import Slurm, missing
from snakemake.cli import get_argument_parser
from source_tree import SourceTree
from test_pipeline import CONFIG, STUDY

PROFILES = ROOT / "workflow" / "profiles"
HOLD = ("import sys; from spikeproof.devices import training_device as of; first = of(lambda text: print(text, flush=True)); "
        "print(first if first == of() else 'two GPUs', flush=True); sys.stdin.read()")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree with a tiny study."""
    tree = SourceTree(tmp_path_factory.mktemp("cluster"))
    tree.write(CONFIG, {**STUDY, "hardware": False})
    return tree


@pytest.mark.parametrize("profile, arguments", [
    ("local", ()), ("gpus", ("--config", "device=cuda")), ("slurm", ()), ("cluster", ())])
def test_a_profile_plans_the_study(tree, profile, arguments):
    out = tree.snakemake("-n", "--workflow-profile", f"workflow/profiles/{profile}", *arguments)
    assert "report_study" in out and "total" in out


def test_profiles_have_options_of_snakemake():
    """The one for Kubernetes too, of which nothing else can be tested here."""
    known = {option for action in get_argument_parser()._actions for option in action.option_strings}
    for path in PROFILES.glob("*/config.yaml"):
        keys = yaml.safe_load(path.read_text())
        own = "kubernetes-" if path.parent.name == "kubernetes" else "none"        # options of a plugin that is not installed
        assert {f"--{key}" for key in keys if not key.startswith(own)} <= known, path
        assert keys["rerun-incomplete"] is True and keys["scheduler"] == "greedy"
    assert len(list(PROFILES.glob("*/config.yaml"))) == 5


def test_gpus_want_the_device_beside_them(tree):
    assert "--resources gpu=... wants --config device=cuda beside it" in tree.snakemake("-n", "--resources", "gpu=2", check=False)
    assert tree.snakemake("-n", "--resources", "gpu=2", "--config", "device=cuda").count("gpu=1") >= 3      # trainings ask for one
    assert "gpu=1" not in tree.snakemake("-n")


class Holder:
    """A process that holds a GPU until it is ended."""
    def __init__(self, folder, gpus):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(folder), "SPIKEPROOF_DEVICE": "cuda",
                       "SPIKEPROOF_GPUS": str(gpus)}
        self.process = subprocess.Popen([sys.executable, "-c", HOLD], env=environment, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.line = self.process.stdout.readline().strip()

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.communicate()


def test_trainings_at_once_get_different_gpus_and_a_killed_one_frees_its(tmp_path):
    holders = [Holder(tmp_path, 2) for _ in range(2)]
    assert sorted(of.line for of in holders) == ["cuda:0", "cuda:1"]
    third = Holder(tmp_path, 2)
    assert third.line == "all 2 GPUs are taken: waiting for one"
    holders[1].end(signal.SIGKILL)
    assert third.process.stdout.readline().strip() == holders[1].line
    for of in (holders[0], third):
        of.end()


@pytest.mark.slow
def test_a_submit_command_runs_jobs(tree, tmp_path_factory):
    """The profile for any batch system, with SLURM's own command, gives the files that local jobs give."""
    reason = missing()
    if reason:
        not_run(reason)
    target = "results/models/digits/tiny/lif/quick/s0/pretrain.safetensors"
    with Slurm(tmp_path_factory.mktemp("s") / "s") as slurm:
        tree.snakemake(target, "--workflow-profile", "workflow/profiles/cluster", "--latency-wait", "5", **slurm.environment)
        states = slurm.call("squeue", "-h", "-t", "all", "-o", "%T").stdout.split()
    assert states == ["COMPLETED"] * 2
    with Slurm(tmp_path_factory.mktemp("s") / "s") as slurm:         # a job that somebody cancels is seen to be gone
        command = tree.command(target, "--forceall", "--workflow-profile", "workflow/profiles/cluster", "--latency-wait", "5")
        process = subprocess.Popen(command, cwd=tree.at, env=slurm.environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        while "R" not in slurm.call("squeue", "-h", "-o", "%t").stdout.split():
            assert process.poll() is None
            time.sleep(0.2)
        slurm.call("scancel", "1")
        assert process.wait(300) == 0
        states = slurm.call("squeue", "-h", "-t", "all", "-o", "%T").stdout.split()
    assert sorted(states) == ["CANCELLED", "COMPLETED", "COMPLETED"]
    there = Path(tree.at, target).read_bytes()
    tree.snakemake(target, "--forceall")
    assert Path(tree.at, target).read_bytes() == there
