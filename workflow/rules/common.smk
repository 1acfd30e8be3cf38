# Configuration, runs, and what rules share. No torch here: this is read at the start of every job.
import json
from glob import glob
import os
import sys
import threading
import time
from pathlib import Path

ROOT = Path(str(workflow.current_basedir)).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "hdl")]
# Jobs use this Python and this source tree, installed or not.
os.environ.update(
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    ),
    PYTHONPATH=os.pathsep.join(sys.path[:2] + [os.environ.get("PYTHONPATH", "")]),
)

from spikeproof.claims import load_claims
from spikeproof.code_digest import code_digest
from spikeproof.config import load_study, parse_config, smoke_config, with_entries
from spikeproof.entries import ConfigError, read_yaml
from spikeproof.runs import FLOAT, NO_PRUNER, SECTION_OF, Run, analysis_file
from spikeproof.grid_progress import Progress, lost_parts, part_file
from spikeproof.grids import load_grid, tasks


def file_of(given, folder):
    """The file of a study or grid: the path that was given, or of a name its file in config/."""
    if given.suffix in (".yaml", ".yml"):
        return given
    if given.is_dir():
        raise ConfigError(
            f"{given} is a folder: give a file of it, or a name in config/{folder}"
        )
    return ROOT / "config" / folder / f"{given}.yaml"


try:
    for path in workflow.configfiles:
        read_yaml(
            path
        )  # refuses keys that stand twice, which Snakemake's own reader does not see
    # A name in config/studies, or the path of a study file of one's own.
    STUDY_FILE = Path(str(config.get("study", "default") or ""))
    if not STUDY_FILE.name:
        raise ConfigError(
            "study must be a name in config/studies, or the path of a study file"
        )
    STUDY_FILE = file_of(STUDY_FILE, "studies")
    STUDY = STUDY_FILE.stem
    WHOLE = with_entries(config, STUDY_FILE)
    CONFIG = parse_config(WHOLE, "config/config.yaml")
    # `--config smoke=true` shows that a study runs: few samples, two optimizer steps, in a folder of its own.
    SMOKE = CONFIG.machine.smoke
    if SMOKE:
        CONFIG = parse_config(smoke_config(WHOLE), "config/config.yaml")
    load_claims(ROOT / "config" / "claims.yaml")
    STUDY_OPTIONS, RUNS = load_study(STUDY_FILE, CONFIG)
    # A grid in place of a study: a name in config/grids, or a path.
    GRID, GRID_NAME = None, "none"
    if "grid" in config:
        if "study" in config:
            raise ConfigError("study and grid are two things to run: give one of them")
        GRID_FILE = Path(str(config["grid"] or ""))
        if not GRID_FILE.name:
            raise ConfigError(
                "grid must be a name in config/grids, or the path of a grid file"
            )
        GRID_FILE = file_of(GRID_FILE, "grids")
        GRID = load_grid(GRID_FILE, with_entries(config, GRID_FILE), CONFIG, SMOKE)
        GRID_NAME = GRID_FILE.stem
        CONFIG.entries["datasets"].update(GRID.datasets)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

# Not parameters of the rules: results are the same wherever data lie.
if CONFIG.machine.data_dir is not None:
    os.environ.update(SPIKEPROOF_DATA_DIR=CONFIG.machine.data_dir)
if SMOKE:
    DATA_DIR = Path(os.environ.get("SPIKEPROOF_DATA_DIR", "data"))
    os.environ.update(SPIKEPROOF_DATA_DIR=str(DATA_DIR.resolve()))

    workdir: ROOT / "scratch" / "smoke"


if not CONFIG.machine.download:
    os.environ.update(SPIKEPROOF_OFFLINE="1")
if CONFIG.machine.device is not None:
    os.environ.update(SPIKEPROOF_DEVICE=CONFIG.machine.device)
# Trainings ask for a GPU where they use one; `--resources gpu=4` says how many this machine has, and each gets one of its own.
GPU = int(os.environ.get("SPIKEPROOF_DEVICE", "cpu").startswith("cuda"))
GPUS = workflow.global_resources.get("gpu") if workflow.is_main_process else None
GPUS = getattr(GPUS, "value", GPUS)
os.environ.pop("SPIKEPROOF_GPUS", None)
if GPUS is not None:
    if not GPU:
        raise WorkflowError("--resources gpu=... wants --config device=cuda beside it")
    os.environ.update(SPIKEPROOF_GPUS=str(GPUS))


wildcard_constraints:
    dataset="[^/]+",
    architecture="[^/]+",
    neuron="[^/]+",
    pretraining="[^/]+",
    quantizer="[^/]+",
    pruner="[^/]+",
    seed="[0-9]+",
    analysis="[^/]+",
    part="[0-9]+",
    level="training|point",


BASE = "results/models/{dataset}/{architecture}/{neuron}/{pretraining}/s{seed}"
QUANTIZED = f"{BASE}/{{quantizer}}"
FOLDER = f"{QUANTIZED}/{{pruner}}"


def entries(*sections):
    """Function of the wildcards: the configuration entries of these sections as JSON."""
    singular = {
        "architectures": "architecture",
        "neurons": "neuron",
        "pretraining": "pretraining",
    }

    def of(wildcards):
        chosen = {
            singular[s]: CONFIG.entry(s, wildcards[singular[s]]) for s in sections
        }
        return json.dumps(chosen, sort_keys=True)

    return of


def entry(section, wildcard):
    """Function of the wildcards: one configuration entry as JSON."""

    def of(wildcards):
        return json.dumps(CONFIG.entry(section, wildcards[wildcard]), sort_keys=True)

    return of


def code_of(stage, *sections):
    """Function of the wildcards: digest of a stage's code and of the catalog modules that this run names."""
    wildcard = {section: field for field, section in SECTION_OF.items()}
    wildcard["analyses"] = "analysis"

    def of(wildcards):
        modules = [f"spikeproof.stages.{stage}"]
        for section in sections:
            name = wildcards[wildcard[section]]
            if name not in (FLOAT, NO_PRUNER):
                modules += CONFIG.modules(section, name)
        return code_digest(*modules)

    return of


def label(wildcards):
    """The chain of names, for the terminal."""
    return "/".join(wildcards.get(key) for key in wildcards.keys())


def final_model(wildcards):
    """The model that is evaluated: pruned, quantized or in full precision."""
    names = {key: value for key, value in wildcards.items() if key != "seed"}
    return Run("", seed=int(wildcards.seed), **names).model


def seeds_of(analysis):
    """Seeds of the networks that an analysis looks at."""
    return CONFIG.entries["analyses"][analysis].network.seeds


def checkpoint(wildcards):
    """Where a training keeps its progress: not an output, so an interrupted job does not lose it."""
    return f"scratch/{'.'.join(wildcards)}.safetensors"


def reference_table(wildcards):
    """The committed table of the study, or a sentence."""
    if GRID:
        raise WorkflowError(
            "the target verify compares a study with its reference, and a grid has none; files of a grid are checked by: "
            f"python -m spikeproof verify --manifest results/grids/{GRID_NAME}/manifest.json"
        )
    path = ROOT / "results" / "reference" / STUDY / "summary.csv"
    if not path.exists():
        raise WorkflowError(
            f"results/reference/{STUDY} does not exist: of this study there is no earlier run to compare with"
        )
    return path


def growing(amount):
    """Function for a resource (MB, minutes): more of it at every attempt."""

    def of(wildcards, attempt):
        return amount * attempt

    return of


def grid_batch(wildcards):
    """The points of one job."""
    return GRID.batches(wildcards.level)[int(wildcards.part)]


def grid_inputs(wildcards):
    """Prepared data, and of points the pre-trainings that they need."""
    batch = grid_batch(wildcards)
    found = sorted({point.path for point in batch})
    if wildcards.level == "point":
        found += [part_file(GRID_NAME, "training", n) for n in GRID.trainings_of(batch)]
    return found


def forget_lost(name, grid):
    """Make Snakemake run those jobs of a grid again some of whose points failed, or lost files: what they wrote is taken away, and
    what rests on it, for Snakemake does not miss what is between things that are there.
    """
    if any(Path(".snakemake/locks").glob("*")):  # another Snakemake is at work here
        return
    for path, missing in lost_parts(name, grid).items():
        path.unlink()
        path.with_name("manifest.json").unlink(missing_ok=True)
        print(
            f"{path} is made again: {missing} of what it tells of failed, or lost files",
            file=sys.stderr,
        )


if GRID and workflow.is_main_process:
    forget_lost(GRID_NAME, GRID)


def redate(folder):
    """Date what lies in the future (a clock was wrong) to now, in its order: Snakemake takes outputs older than inputs for stale."""
    now = time.time_ns()
    dated = [
        (path.stat().st_mtime_ns, path)
        for path in Path(folder).rglob("*")
        if path.is_file()
    ]
    ahead = [(at, path) for at, path in dated if at > now]
    places = {
        at: n for n, at in enumerate(sorted({at for at, _ in ahead}, reverse=True), 1)
    }
    for at, path in ahead:
        back = now - places[at] * 1000
        os.utime(path, ns=(back, back))
    if ahead:
        print(
            f"{len(ahead)} files in {folder} were dated in the future, as by a wrong clock: they are dated now, in their order",
            file=sys.stderr,
        )


def watch_grid(progress, every=10):
    """Tell how far a grid is whenever that has changed, in a thread of this process."""

    def watch():
        told = None
        while True:
            time.sleep(every)
            line = progress.line()
            if line != told:
                print(line, file=sys.stderr, flush=True)
                told = line

    threading.Thread(target=watch, daemon=True).start()


def log_of(stage, folder):
    """The log file of a stage whose results go to a folder of models."""
    return f"results/logs/{stage}/{folder.removeprefix('results/models/')}.log"


CHAIN = ("architectures", "neurons", "quantizers", "pruners")
