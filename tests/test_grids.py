"""Grids: what is declared becomes points, points run once, and one that fails costs nobody else anything."""
import csv
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, not_run
from one_machine_slurm import Slurm, missing
from source_tree import SourceTree

from spikeproof.cli import main
from spikeproof.config import parse_config, with_entries
from spikeproof.entries import ConfigError, read_yaml
from spikeproof.grids import load_grid, read_tasks, tasks

CONFIG = {"datasets": {"digits": {"kind": "digits", "steps": 2}},
          "architectures": {"tiny": {"kind": "feedforward", "layers": "8C3-AP2-4C3-AP2-10"}},
          "neurons": {"lif": {"kind": "lif"}},
          "pretraining": {"quick": {"kind": "surrogate", "training": {"epochs": 1}}},
          "quantizers": {"int4": {"kind": "int", "bits": 4, "training": {"epochs": 1}},
                         "ternary": {"kind": "ternary", "training": {"epochs": 1}}},
          "pruners": {"half": {"kind": "channel", "training": {"epochs": 1}}}}
GRID = {"title": "Tiny", "base": {"dataset": "digits", "architecture": "tiny", "neuron": "lif", "pretraining": "quick",
                                  "quantizer": "int4"}}
SLOW = pytest.mark.slow


def load(at, rows=None, **grid):
    """A grid from a file with these keys; ``rows`` is the text of its table."""
    path = at / "bits.yaml"
    path.write_text(yaml.safe_dump({**GRID, **grid}, sort_keys=False))
    if rows is not None:
        (at / "rows.csv").write_text(rows)
    return load_grid(path, with_entries(CONFIG, path), parse_config(CONFIG))


def test_axes_are_combined_in_order(tmp_path):
    axes = {"quantizer.bits": [2, 8], "quantizer.membrane.bits": [6, 10], "pruner": ["none", "half"]}
    grid = load(tmp_path, axes=axes, seeds=[0, 3])
    assert [(*point.settings.values(), point.seed) for point in grid.points] == [
        (bits, membrane, pruner, seed) for bits in (2, 8) for membrane in (6, 10) for pruner in ("none", "half") for seed in (0, 3)]
    last = grid.points[-1]
    assert last.entries["quantizer"]["bits"] == 8 and last.entries["quantizer"]["membrane"]["bits"] == 10
    assert last.entries["pruner"]["kind"] == "channel" and grid.points[0].entries["pruner"] is None
    assert last.data == "digits" and len(grid.trainings) == 2 and len({point.key for point in grid.points}) == 16
    assert read_tasks(json.loads(tasks(grid.points))) == list(grid.points)
    other = load(tmp_path, axes={"quantizer.bits": [3], "pruner": ["half"]}, seeds=[0, 3])
    assert tasks(grid.trainings, "training") == tasks(other.trainings, "training")      # a training does not know of what follows


def test_rows_of_a_table(tmp_path):
    grid = load(tmp_path, "quantizer,quantizer.bits,dataset.steps\nint4,3,\nternary,,5\n", table="rows.csv", seeds=[1])
    assert [point.settings for point in grid.points] == [{"quantizer": "int4", "quantizer.bits": 3},
                                                         {"quantizer": "ternary", "dataset.steps": 5}]
    assert grid.points[0].data == "digits" and grid.points[1].data.startswith("digits-")
    assert grid.datasets[grid.points[1].data].steps == 5 and len(grid.trainings) == 2


def test_tables_as_programs_write_them(tmp_path):
    """A mark at the beginning, as Excel has it; numbers as pandas writes them; names that YAML would take for something else."""
    (tmp_path / "x").mkdir()
    grid = load(tmp_path, "\ufeffquantizer.training.learning_rate,quantizer\n1e-05,int4\n", table="rows.csv")
    assert grid.points[0].settings == {"quantizer.training.learning_rate": 1e-05, "quantizer": "int4"}


@pytest.mark.parametrize("keys, rows, sentence", [
    ({"axes": {"quantiser.bits": [2]}}, None, "axes: field 'quantiser' is unknown: it must be one of architecture, dataset, "
     "neuron, pretraining, pruner, quantizer; did you mean 'quantizer'?"),
    ({"axes": {"quantizer.bits": [2, 99]}}, None, "quantizer.bits 99: quantizer.bits must be less than or equal to 16, not 99"),
    ({"axes": {"quantizer.bitz": [2]}}, None, "quantizer.bitz 2: quantizer.bitz is not a known key; did you mean 'bits'?"),
    ({"axes": {"quantizer": ["int5"]}}, None, "quantizer 'int5': quantizer: quantizer 'int5' is unknown: it must be one of float, "
     "int4, ternary; did you mean 'int4'?"),
    ({"axes": {"pruner.keep": [0.5]}}, None, "pruner.keep is an option of a pruner, but pruner is 'none'"),
    ({"axes": {"quantizer.bits.x": [1]}}, None, "quantizer.bits.x 1: bits has no keys"),
    ({"axes": {"quantizer.": [1]}}, None, "a key must be like quantizer or quantizer.membrane.bits, not 'quantizer.'"),
    ({"axes": {"quantizer.bits": []}}, None, "axes.quantizer.bits must have a value"),
    ({"axes": {"quantizer.bits": [4, 4]}}, None, "this is the same network as that of"),
    ({"seeds": [1, 1]}, None, "seeds must be different numbers from 0, not [1, 1]"),
    ({"base": {**GRID["base"], "seeds": [2]}}, None, "base has no seeds and no hardware"),
    ({"axes": {"quantizer.bits": list(range(2, 9)), "seed": [1]}}, None, "axes: field 'seed' is unknown"),
    ({"axes": {f"quantizer.training.{k}": list(range(1, 100)) for k in ("epochs", "batch_size", "learning_rate")}}, None,
     "has 970,299 points; at most 100,000 are taken"),
    ({"table": "rows.csv", "axes": {"quantizer.bits": [2]}}, "quantizer.bits\n3\n",
     "quantizer.bits is an axis and a column of the table"),
    ({"table": "rows.csv"}, "quantizer.bits\n3\n99\n", "line 3: quantizer.bits must be less than or equal to 16, not 99"),
    ({"table": "rows.csv"}, "quantizer.bits,quantizer.bits\n3,4\n", "column 'quantizer.bits' stands twice"),
    ({"table": "rows.csv"}, "quantizer.bits\n", "must have a line of keys and a line for each point"),
    ({"table": "rows.csv"}, "quantizer.bits\n3,4\n", "line 2 must have 1 cells, not 2"),
    ({"table": "rows.csv"}, "quantizer.bits\n[\n", "line 2 has a cell that is no value"),
    ({"table": "none.csv"}, None, "none.csv cannot be read: No such file or directory"),
    ({"table": "rows.txt"}, None, "a table must be .csv or .tsv"),
    ({"axes": {"architecture.layers": ["8C3-AP3-10"]}}, None, "architecture 'tiny' on dataset 'digits'"),
    ({"axes": {"quantizer": ["float"], "pruner": ["half"]}}, None, "pruner must be 'none' for a float network"),
    ({"axes": {"quantizer": [["int4"]]}}, None, "quantizer ['int4']: quantizer: quantizer ['int4'] is unknown"),
    ({"axes": {"quantizer.bits": [float("nan")]}}, None, "quantizer has a value that is no finite number, text, list or mapping"),
    ({"table": "rows.csv"}, "quantizer.bits\n2020-01-01\n", "quantizer has a value that is no finite number, text, list"),
    ({"table": "rows.csv"}, "quantizer.bits\n3\n\n\n99\n", "line 5: quantizer.bits must be less than or equal to 16, not 99"),
    ({"axes": {"quantizer.membrane.bits": [8], "quantizer.membrane": [{"bits": 4}]}}, None,
     "quantizer.membrane and quantizer.membrane.bits are both set, and the one holds the other: leave out one of them"),
    ({"table": "rows.csv", "axes": {"quantizer.membrane.bits": [8]}}, "quantizer.membrane\n{bits: 4}\n",
     "quantizer.membrane and quantizer.membrane.bits are both set"),
    ({"axis": 3}, None, "axis is not a known key; did you mean 'axes'?"),
])
def test_mistakes(tmp_path, keys, rows, sentence):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, rows, **keys)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_batches_follow_the_seconds_that_are_stated(tmp_path):
    axes = {"pretraining.training.epochs": list(range(1, 7)), "quantizer.bits": [2, 3, 4, 5, 6]}
    grid = load(tmp_path, axes=axes, seconds_per_point=20, seconds_per_training=150, seconds_per_job=300)
    assert [len(batch) for batch in grid.batches("point")] == [15, 15]
    assert [len(batch) for batch in grid.batches("training")] == [2, 2, 2]
    assert [grid.trainings_of(batch) for batch in grid.batches("point")] == [[0, 1], [1, 2]]
    short = load(tmp_path, axes={"quantizer.training.learning_rate": [0.001 * n for n in range(1, 801)]}, seconds_per_point=0.1)
    assert sum(len(batch) for batch in short.batches("point")) == 800
    assert max(len(tasks(batch).encode()) for batch in short.batches("point")) < 100_000      # one argument of a shell


def test_a_point_is_known_by_what_it_is(tmp_path):
    few = load(tmp_path, axes={"quantizer.bits": [2, 4]})
    more = load(tmp_path, axes={"quantizer.bits": [8, 4, 2, 3]})
    assert {point.key for point in few.points} < {point.key for point in more.points}
    assert len({point.training for point in few.points + more.points}) == 1
    other = load(tmp_path, axes={"quantizer.bits": [2, 4]}, seeds=[1])
    assert not {point.key for point in few.points} & {point.key for point in other.points}


def test_shipped_grids_are_valid():
    config = read_yaml(ROOT / "config" / "config.yaml")
    found = sorted((ROOT / "config" / "grids").glob("*.yaml"))
    assert found
    for path in found:
        assert load_grid(path, with_entries(config, path), parse_config(config)).points


class Tree(SourceTree):
    """A copy of the source tree with a grid."""
    def __init__(self, at):
        super().__init__(at)
        self.write(CONFIG, {"title": "Tiny", "defaults": GRID["base"], "runs": {"a": {}}, "hardware": False})
        self.folder = self.at / "results" / "grids" / "bits"

    def declare(self, **grid):
        path = self.at / "config" / "grids" / "bits.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({**GRID, **grid}, sort_keys=False))

    def rows(self):
        with open(self.folder / "summary.csv") as file:
            return list(csv.DictReader(file))

    def spikeproof(self, *arguments, check=True):
        """A stage by hand -> what it said."""
        done = subprocess.run([sys.executable, "-m", "spikeproof", *arguments], cwd=self.at, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", "hdl"])})
        assert (done.returncode == 0) == check, done.stderr
        return done.stdout + done.stderr

    def points(self):
        """{file of a finished point or training: when it was written}."""
        return {path: path.stat().st_mtime_ns for path in self.at.glob("results/points/*/result.json")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree(tmp_path_factory.mktemp("grid"))


AXES = {"quantizer.bits": [2, 4], "quantizer.training.learning_rate": [0.001, 0.004]}


@SLOW
def test_failed_points_cost_the_others_nothing_and_are_tried_again(tree):
    tree.declare(axes={**AXES, "quantizer.training.learning_rate": [1.0e30, 0.001]}, seeds=[0, 1])
    out = tree.snakemake("--config", "grid=bits", check=False)
    assert "4 of 8 failed, first quantizer.bits=2,quantizer.training.learning_rate=1e+30/0: " in out
    assert "[grid bits] 4 of 8 points done, 0 running, 4 failed" in out
    assert "the loss is not finite" in out and "the others are kept: run it again for these alone" in out
    said = out.split("0 running, 4 failed")[-1]
    assert "quantizer.bits=2,quantizer.training.learning_rate=1e+30/0: " in said and "and 1 more" in said and "SIGKILL" not in said
    kept = tree.points()
    assert len(kept) == 4 + 2 and not tree.folder.joinpath("summary.csv").exists()        # four points, two trainings
    out = tree.snakemake("--config", "grid=bits", check=False)
    assert "4 of 8 failed" in out and tree.points() == kept


@SLOW
def test_adding_rows_computes_only_them(tree):
    tree.declare(axes=AXES, seeds=[0, 1])
    before = tree.points()
    out = tree.snakemake("--config", "grid=bits")
    assert "8 points in results/grids/bits/summary.csv" in out and "[grid bits] 8 of 8 points done, 0 running, 0 failed" in out
    now = tree.points()
    assert before.items() <= now.items()
    rows = tree.rows()
    assert [(row["quantizer.bits"], row["quantizer.training.learning_rate"], row["seed"]) for row in rows] == [
        (bits, rate, seed) for bits in "24" for rate in ("0.001", "0.004") for seed in "01"]
    assert all(int(row["memory_bits"]) > 0 and int(row["torch_values_compared"]) > 100_000 for row in rows)
    assert int(rows[0]["weight_bits"]) * 2 == int(rows[4]["weight_bits"])
    page = tree.folder.joinpath("report.html").read_text()
    assert "quantizer.training.learning_rate" in page and page.count("<figure>") == 3
    assert "Nothing to be done" in tree.snakemake("--config", "grid=bits")
    tree.declare(axes={**AXES, "quantizer.bits": [3, 2, 4]}, seeds=[0, 1])
    out = tree.snakemake("--config", "grid=bits")
    assert "4 of 12 points computed, 8 were there" in out
    assert now.items() <= tree.points().items() and len(tree.rows()) == 12


@SLOW
def test_a_failed_training_costs_its_own_points_alone(tree):
    """Of two pre-trainings in one batch one diverges; its points can be listed in place of stopping the table."""
    axes = {"pretraining.training.learning_rate": [1.0e30, 0.002], "quantizer.bits": [2, 4]}
    tree.declare(axes=axes, seconds_per_training=10)
    out = tree.snakemake("--config", "grid=bits", check=False)
    assert "2 of 4 failed, first" in out and "its pre-training: " in out and "set `failures: leave_out` in the grid" in out
    assert "2 of 4 points done, 0 running, 2 failed" in out
    kept = tree.points()
    tree.declare(axes=axes, seconds_per_training=10, failures="leave_out")
    out = tree.snakemake("--config", "grid=bits")
    assert "4 points in results/grids/bits/summary.csv, 2 of them failed" in out and kept.items() <= tree.points().items()
    rows = tree.rows()
    assert ["the loss is not finite" in row["error"] for row in rows] == [True, True, False, False]
    assert [bool(row["accuracy"]) for row in rows] == [False, False, True, True]
    page = tree.folder.joinpath("report.html").read_text()
    assert "2 failed" in page and page.count("the loss is not finite") == 2
    out = tree.snakemake("--config", "grid=bits")                    # what failed is tried again, and nothing else
    assert "0 of 4 points computed, 2 were there, 2 failed" in out and kept.items() <= tree.points().items()


@SLOW
def test_what_is_gone_or_cut_short_is_made_again(tree):
    """Whatever file of a finished point or pre-training is lost: the same command makes it again, to the same bits."""
    tree.declare(axes=AXES, seeds=[5])
    tree.snakemake("--config", "grid=bits")
    first, points = tree.rows(), tree.at / "results/points"
    files = [points / row["key"] for row in first]
    training = points / json.loads((files[0] / "result.json").read_text())["point"]["training"]

    def content():
        """{file: bytes} of networks, but not of what says when they were made."""
        return {path: path.read_bytes() for folder in (*files, training) for path in folder.glob("*.safetensors")}
    whole, before = content(), tree.points()
    shutil.rmtree(files[0])
    (files[1] / "network.safetensors").unlink()
    (files[1] / "export.json").unlink()
    (files[2] / "quantize.safetensors").write_bytes(b"cut short")
    (training / "pretrain.safetensors").write_bytes(whole[training / "pretrain.safetensors"][:100])
    (tree.folder / "summary.csv").unlink()
    out = tree.snakemake("--config", "grid=bits")
    assert "results/grids/bits/point-0.json is made again: 4 of what it tells of failed, or lost files" in out
    assert "3 of 4 points computed, 1 were there" in out and "1 of 1 trainings computed" in out
    assert content() == whole and [row["accuracy"] for row in tree.rows()] == [row["accuracy"] for row in first]
    assert tree.points()[files[3] / "result.json"] == before[files[3] / "result.json"]
    # What was changed and is as long as before is found by the manifest, which says what to do.
    manifest, changed = "results/grids/bits/manifest.json", files[3] / "evaluate.json"
    text = changed.read_text()
    changed.write_text(re.sub(r'("accuracy": 0\.)\d', r"\g<1>9" if '"accuracy": 0.9' not in text else r"\g<1>1", text))
    refused = tree.spikeproof("verify", "--manifest", manifest, check=False)
    assert f"{changed.relative_to(tree.at)} was changed after the report. Delete those, and the same Snakemake command" in refused
    changed.unlink()
    tree.snakemake("--config", "grid=bits")
    assert json.loads(changed.read_text())["accuracy"] == json.loads(text)["accuracy"]
    told = tree.spikeproof("verify", "--manifest", manifest)
    assert "files are those of the report" in told
    listed = json.loads((tree.at / manifest).read_text())["files"]
    assert {"results/data/digits.safetensors", str((training / "pretrain.safetensors").relative_to(tree.at))} < set(listed)


@SLOW
def test_targets_and_names_that_are_no_grid(tree):
    tree.declare(axes=AXES, seeds=[5])
    assert "the target verify compares a study with its reference, and a grid has none" in tree.snakemake(
        "verify", "-n", "--config", "grid=bits", check=False)
    for name, sentence in (("", "grid must be a name in config/grids, or the path of a grid file"),
                           ("config", "config is a folder: give a file of it, or a name in config/grids")):
        assert sentence in tree.snakemake("-n", "--config", f"grid={name}", check=False)


def test_the_page_has_every_point(tmp_path, capsys):
    """Rows with options left out, or set to nothing, stand in table and page like others; what failed is named with its reason."""
    results = {"accuracy_float": 0.9, "validation_accuracy": 0.8, "firing_rate": 0.1, "memory_bits": 10_815, "weight_bits": 10_000,
               "torch_values_compared": 1000, "seconds": 1.5}
    settings = [{"quantizer.bits": 4}, {"quantizer.bits": 4, "quantizer.edge_bits": None}, {"quantizer.edge_bits": 16},
                {"quantizer.membrane": {"levels": [-1, 1]}}, {}]
    rows = [{**given, "seed": seed, "key": f"{n}-{seed}", **results, "accuracy": 0.5 + n / 10 + seed / 100}
            for n, given in enumerate(settings) for seed in (0, 1)]
    rows.append({"quantizer.bits": 3, "seed": 7, "key": "x", "error": "the loss is <not> finite"})
    (tmp_path / "a.json").write_text(json.dumps({"rows": rows, "failed": [], "rests_on": []}))
    out = {name: tmp_path / name for name in ("report.html", "summary.csv", "manifest.json")}
    command = ["grid", "--parts", str(tmp_path / "a.json"), "--grid", json.dumps({"name": "g", "title": "G", "about": ""}),
               "--out", str(out["report.html"]), "--table", str(out["summary.csv"]), "--manifest", str(out["manifest.json"])]
    assert main(command) == 0
    assert "11 points in" in (said := capsys.readouterr().out) and "1 of them failed" in said
    with open(out["summary.csv"]) as file:
        table = list(csv.DictReader(file))
    assert [(row["quantizer.bits"], row["quantizer.edge_bits"], row["memory_bits"]) for row in table[::2]] == [
        ("4", "", "10815"), ("4", "null", "10815"), ("", "16", "10815"), ("", "", "10815"), ("", "", "10815"), ("3", "", "")]
    page = out["report.html"].read_text()
    assert "<b>5</b><span>points, 10 with seeds</span>" in page and "<b>90.50 %</b><span>largest accuracy" in page
    assert "1 failed" in page and "quantizer.bits 3, seed 7" in page and "the loss is &lt;not&gt; finite" in page
    assert re.search(r"<td>4</td><td>null</td>", page) and re.search(r"<td></td><td>16</td>", page)


@SLOW
def test_a_killed_job_keeps_what_its_point_had_trained(tree):
    """kill -9 while a point is pruned: the next run does not quantize it again."""
    tree.declare(axes={"pruner": ["half"], "pruner.training.epochs": [120], "quantizer.training.epochs": [3]})
    command = tree.command("--config", "grid=bits")
    process = subprocess.Popen(command, cwd=tree.at, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 200
    while not list(tree.at.glob("scratch/points/[!.]*.prune.safetensors")):
        assert time.monotonic() < end and process.poll() is None, "no checkpoint was written"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    folder, = (path.parent for path in tree.at.glob("results/points/*/quantize.safetensors")
               if not (path.parent / "result.json").exists())
    quantized = (folder / "quantize.safetensors").stat().st_mtime_ns
    tree.snakemake("--unlock", "--config", "grid=bits")
    tree.snakemake("--config", "grid=bits")
    log, = tree.at.glob("results/logs/grid_part/bits/point-0.log")
    assert "[prune" in log.read_text() and "continuing after epoch" in log.read_text() and "[quantize" not in log.read_text()
    assert (folder / "quantize.safetensors").stat().st_mtime_ns == quantized and (folder / "result.json").exists()


@SLOW
def test_a_thousand_points_have_their_jobs_in_seconds(tree):
    axes = {"quantizer.bits": [2, 3, 4, 6, 8], "quantizer.membrane.bits": [6, 8, 10, 12, 16], "pruner": ["none", "half"],
            "quantizer.training.learning_rate": [0.001, 0.002]}
    tree.declare(axes=axes, seeds=list(range(10)))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = tree.snakemake("-n", "--quiet", "rules", "--config", "grid=bits")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert re.search(r"grid_part +69\n", out)                         # 67 batches of points, two of trainings
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20


@SLOW
def test_a_point_is_the_run_of_a_study(tree):
    tree.declare(axes=AXES, seeds=[0, 1])
    tree.snakemake("--config", "grid=bits")
    folder = "results/models/digits/tiny/lif/quick/s0/int4/none"
    tree.snakemake(f"{folder}/network.safetensors")
    study = json.loads((tree.at / folder / "export.json").read_text())
    config = CONFIG["quantizers"]["int4"]
    default = parse_config(CONFIG).entry("quantizers", "int4")["training"]["learning_rate"]
    tree.declare(axes={"quantizer.bits": [config["bits"]], "quantizer.training.learning_rate": [default]})
    tree.snakemake("--config", "grid=bits")
    point, = tree.rows()
    exported = json.loads((tree.at / "results/points" / point["key"] / "export.json").read_text())
    assert exported["network_sha256"] == study["network_sha256"]


@SLOW
def test_a_grid_on_slurm_gives_the_same_table(tree, tmp_path_factory):
    """Batches of the grid as SLURM jobs, in one array; the same bits as on this machine."""
    reason = missing()
    if reason:
        not_run(reason)
    tree.declare(axes=AXES, seeds=[0, 1], seconds_per_point=150)
    tree.snakemake("--config", "grid=bits")
    there = Tree(tmp_path_factory.mktemp("on-slurm"))
    there.declare(axes=AXES, seeds=[0, 1], seconds_per_point=150)
    with Slurm(tmp_path_factory.mktemp("s") / "s") as slurm:
        out = there.snakemake("--workflow-profile", "workflow/profiles/slurm", "--slurm-init-seconds-before-status-checks", "2",
                              "--latency-wait", "5", "--config", "grid=bits", **slurm.environment)
        jobs = slurm.call("squeue", "-h", "-t", "all", "-o", "%j %T %F").stdout.split("\n")
    states = [line.split() for line in jobs if line]
    assert len(states) >= 1 + 1 + 4 + 1 and all(state == "COMPLETED" for _, state, _ in states), out[-3000:]
    assert len({array for _, _, array in states}) < len(states), "no job was part of an array"
    ours, theirs = tree.rows(), there.rows()
    for row in ours + theirs:
        assert float(row.pop("seconds")) > 0
    assert ours == theirs
    for row in ours:
        networks = [Path(at, "results/points", row["key"], "network.safetensors").read_bytes() for at in (tree.at, there.at)]
        assert networks[0] == networks[1]
