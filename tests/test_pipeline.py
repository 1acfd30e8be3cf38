"""The pipeline as users run it: a tiny study from pixels to report, what reruns and what does not, kill and continue."""
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import not_run
from source_tree import SourceTree

from spikeproof.report import COLUMNS

STUDY = {"title": "Tiny", "about": "a test", "scaled_down": True,
         "defaults": {"dataset": "digits", "architecture": "tiny", "neuron": "lif", "pretraining": "quick"},
         "runs": {"float": {"quantizer": "float"}, "ternary": {"quantizer": "ternary", "seeds": [0, 1]},
                  "half": {"quantizer": "int4", "pruner": "half"}}}
CONFIG = {"datasets": {"digits": {"kind": "digits", "steps": 2}},
          "architectures": {"tiny": {"kind": "feedforward", "layers": "8C3-AP2-4C3-AP2-10"}},
          "neurons": {"lif": {"kind": "lif"}}, "pretraining": {"quick": {"kind": "surrogate", "training": {"epochs": 4}}},
          "quantizers": {"ternary": {"kind": "ternary", "membrane": {"bits": 6}, "training": {"epochs": 2}},
                         "int4": {"kind": "int", "bits": 4, "membrane": {"bits": 8}, "training": {"epochs": 2}},
                         "binary": {"kind": "binary", "training": {"epochs": 2}}},
          "pruners": {"half": {"kind": "channel", "training": {"epochs": 2}}}}
HALF = "results/models/digits/tiny/lif/quick/s0/int4/half"          # the run that is quantized and pruned
SLOW = pytest.mark.slow


class Tree(SourceTree):
    """A copy of the source tree with a tiny configuration."""
    def __init__(self, at):
        super().__init__(at)
        self.write(CONFIG, STUDY)

    def planned(self):
        """{rule: number of jobs} of a dry run."""
        counts, lines = {}, self.snakemake("-n", "--quiet", "rules").splitlines()
        if any("Nothing to be done" in line for line in lines):
            return {}
        start = max(n for n, line in enumerate(lines) if line.startswith("job ") and line.split()[-1] == "count")
        for line in lines[start + 2:]:
            if not line.strip() or line.startswith("total"):
                break
            name, count = line.split()
            counts[name] = int(count)
        return counts


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree whose tiny study has run; tests leave it as they found it."""
    tree = Tree(tmp_path_factory.mktemp("pipeline"))
    tree.output = tree.snakemake("--quiet", "rules")
    return tree


@SLOW
def test_report_and_table_are_complete(tree):
    with open(tree.at / "results/default/summary.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert [(row["run"], row["seed"]) for row in rows] == [("float", "0"), ("ternary", "0"), ("ternary", "1"), ("half", "0")]
    assert rows[0]["equal"] == "" and all(row["equal"] == row["memory_equal"] == "True" for row in rows[1:])
    assert all(row["dsp"] == "0" and int(row["lut"]) > 100 and float(row["fmax_mhz"]) > 10 for row in rows[1:])
    assert all(int(row["images_compared"]) == 359 for row in rows[1:])
    ternary, half = rows[1], rows[3]
    assert int(half["weight_bits"]) == 4 * (9 * 4 + 9 * 4 * 2 + 4 * 2 * 10)
    assert int(ternary["weight_bits"]) == 2 * (9 * 8 + 9 * 8 * 4 + 4 * 4 * 10)
    assert int(half["membrane_bits"]) == 8 * (64 * 4 + 16 * 2) + 16 * 10
    assert "100%" in tree.output and "[pretrain digits/tiny/lif/quick/0]" in tree.output       # progress was visible


@SLOW
def test_stages_are_shared_and_a_second_run_does_nothing(tree):
    assert tree.planned() == {}
    histories = list((tree.at / "results/models").rglob("pretrain.json"))
    assert len(histories) == 2                                    # one per seed, for four runs
    entry = json.loads(histories[0].read_text())
    assert {"commit", "packages", "processor"} <= set(entry["provenance"]) and entry["config"]["neuron"]["kind"] == "lif"


@SLOW
def test_adding_a_run_runs_only_it(tree):
    tree.write(study={**STUDY, "runs": {**STUDY["runs"], "binary": {"quantizer": "binary"}}})
    try:
        assert tree.planned() == {"quantize": 1, "evaluate": 1, "export": 1, "generate": 1, "simulate": 1, "synthesize": 1,
                                  "bundle": 1, "report_study": 1, "all": 1}
    finally:
        tree.write(study=STUDY)


@SLOW
def test_changing_an_entry_reruns_what_uses_it(tree):
    changed = json.loads(json.dumps(CONFIG))
    changed["pruners"]["half"]["keep"] = 0.25
    tree.write(changed)
    try:
        assert tree.planned() == {"prune": 1, "evaluate": 1, "export": 1, "generate": 1, "simulate": 1, "synthesize": 1,
                                  "bundle": 1, "report_study": 1, "all": 1}
    finally:
        tree.write(CONFIG)


@SLOW
@pytest.mark.parametrize("file, change, planned", [
    ("src/spikeproof/stages/evaluate.py", "\nCHANGED = 1\n", {"evaluate": 4, "report_study": 1, "all": 1}),
    ("src/spikeproof/stages/evaluate.py", "\n# only a comment\n", {}),
    ("src/spikeproof/quantizers/ternary.py", "\nCHANGED = 1\n",
     {"quantize": 2, "evaluate": 2, "export": 2, "generate": 2, "simulate": 2, "synthesize": 2, "bundle": 2,
      "report_study": 1, "all": 1}),
    ("hdl/spikeproof_hdl/synth.py", "\nCHANGED = 1\n", {"synthesize": 3, "bundle": 3, "report_study": 1, "all": 1}),
    ("hdl/spikeproof_hdl/templates/bundle/testbench.sv.j2", "\n// changed\n", {"bundle": 3, "all": 1}),
    ("hdl/spikeproof_hdl/templates/harness.cpp", "\n// changed\n", {"simulate": 3, "bundle": 3, "report_study": 1, "all": 1}),
])
def test_changing_code_reruns_that_stage_and_what_follows(tree, file, change, planned):
    path = tree.at / file
    before = path.read_text()
    path.write_text(before + change)
    try:
        assert tree.planned() == planned
    finally:
        path.write_text(before)


@SLOW
def test_mistakes_stop_snakemake_with_one_sentence(tree):
    tree.write(study={**STUDY, "runs": {"a": {"quantizer": "ternery"}}})
    try:
        out = tree.snakemake("-n", check=False)
        assert ("runs.a.quantizer: quantizer 'ternery' is unknown: it must be one of binary, float, int4, ternary; "
                "did you mean 'ternary'?") in out
        assert "Traceback" not in out
    finally:
        tree.write(study=STUDY)


@SLOW
def test_report_opens_in_a_browser(tree, tmp_path):
    browser = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if browser is None:
        not_run("no Chromium (Debian: apt-get install chromium)")
    page = tree.at / "results/default/report.html"
    text = page.read_text()
    assert 'src="http' not in text and "<link" not in text and "@import" not in text          # self-contained
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--enable-logging=stderr", f"--user-data-dir={tmp_path}",
         "--virtual-time-budget=5000", "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    dom = done.stdout
    root = dom[dom.index("<html"):dom.index(">", dom.index("<html"))]
    assert 'data-ready="1"' in root and "data-errors" not in root
    assert "CONSOLE" not in done.stderr
    figures = dom.count("<figure>")
    drawn, data = (sorted(path.stem for path in page.parent.glob(f"figures/*.{kind}")) for kind in ("svg", "csv"))
    assert drawn == data and len(drawn) == figures and "accuracy-against-memory" in drawn
    assert figures >= 6 and f'data-figures="{figures}"' in root                                 # every image was decoded
    for table, rows in (("run-table", 3), ("proof-table", 3), ("hardware-table", 3)):
        body = dom[dom.index("<tbody>", dom.index(f'id="{table}"')):]
        assert body[:body.index("</tbody>")].count("<tr") == rows
    assert "scaled down" in dom and "all equal" in dom


@SLOW
def test_snakemake_report_and_lint(tree):
    tree.snakemake("--report", "snakemake-report.html")
    page = (tree.at / "snakemake-report.html").read_text()
    assert all(label in page for label in ("Studies", "Proofs", "summary.csv", "equivalence.json"))
    assert "Congratulations" in tree.snakemake("--lint", check=False)


@SLOW
def test_cores_of_the_first_seed_alone(tree, tmp_path):
    other = tree.copy(tmp_path / "other")
    other.write(study={**STUDY, "hardware": "first_seed"})
    assert other.planned() == {"report_study": 1, "all": 1}           # what is there is not built again
    other.snakemake("--quiet", "rules")
    assert "Cores are built of 2 of the 3 quantized networks." in (other.at / "results/default/report.html").read_text()
    with open(other.at / "results/default/summary.csv") as file:
        assert [row["lut"] != "" for row in csv.DictReader(file)] == [False, True, False, True]
    other.write(study={**STUDY, "hardware": "first_seed", "simulated_images": 50})
    assert other.planned() == {"simulate": 2, "bundle": 2, "report_study": 1, "all": 1}
    other.snakemake(f"{HALF}/equivalence.json")
    assert json.loads((other.at / HALF / "equivalence.json").read_text())["images_compared"] == 50


@SLOW
def test_every_file_of_a_report_is_accounted_for(tree):
    command = [sys.executable, "-m", "spikeproof", "verify", "--manifest", "results/default/manifest.json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree.at / "src"), str(tree.at / "hdl")])}

    def verify():
        return subprocess.run(command, cwd=tree.at, env=environment, capture_output=True, text=True)
    done = verify()
    manifest = json.loads((tree.at / "results/default/manifest.json").read_text())
    assert done.returncode == 0 and f"{len(manifest['files'])} files are those of the report" in done.stdout, done.stderr
    assert {"results/data/digits.safetensors", "results/default/summary.csv", f"{HALF}/network.safetensors", f"{HALF}/core/core.v",
            f"{HALF}/equivalence.json", "results/models/digits/tiny/lif/quick/s1/pretrain.safetensors"} <= set(manifest["files"])
    assert {"commit", "packages", "processor"} <= set(manifest["provenance"])
    path = tree.at / HALF / "core/core.v"
    text = path.read_text()
    path.write_text(text.replace("1'h0", "1'h1", 1))
    spoilt = verify()
    path.write_text(text)
    gone = tree.at / HALF / "export.json"
    gone.rename(gone.with_suffix(".away"))
    missing = verify()
    gone.with_suffix(".away").rename(gone)
    assert spoilt.returncode == 1 and f"1 of {len(manifest['files'])} files are not what" in spoilt.stderr
    assert f"{HALF}/core/core.v was changed after the report" in spoilt.stderr
    assert missing.returncode == 1 and f"{HALF}/export.json cannot be read: No such file or directory" in missing.stderr


@SLOW
def test_a_second_run_elsewhere_gives_the_same_bits(tree, tmp_path):
    """Same configuration, seeds and threads on one machine: every model, network, core and proof of a run has the same bytes."""
    other = Tree(tmp_path / "other")
    other.snakemake(f"{HALF}/rtl")
    kinds = {".safetensors", ".v", ".mem", ".hex"}
    found = {path.relative_to(other.at) for path in (other.at / "results").rglob("*") if path.suffix in kinds}
    assert len(found) > 40 and {path.suffix for path in found} == kinds
    different = [path for path in found if (tree.at / path).read_bytes() != (other.at / path).read_bytes()]
    assert not different
    for result, fields in (("equivalence", ("digests", "cycles_per_image")), ("synthesis", ("lut", "ff", "bram", "fmax_mhz"))):
        ours, theirs = (json.loads((at / HALF / f"{result}.json").read_text()) for at in (tree.at, other.at))
        assert [ours[name] for name in fields] == [theirs[name] for name in fields]


@SLOW
def test_killed_training_continues_and_gives_the_same_bits(tmp_path):
    """Kill -9 Snakemake and its training half way; the next run continues and ends with the same model."""
    config = json.loads(json.dumps(CONFIG))
    config["pretraining"]["quick"]["training"]["epochs"] = 60
    target = "results/models/digits/tiny/lif/quick/s0/pretrain.safetensors"
    digests = []
    for kill in (False, True):
        tree = Tree(tmp_path / str(kill))
        tree.write(config)
        if kill:
            process = subprocess.Popen(tree.command(target), cwd=tree.at, start_new_session=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 120
            while not list((tree.at / "scratch").glob("[!.]*")):
                assert time.monotonic() < deadline and process.poll() is None, "no checkpoint was written"
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert not (tree.at / target).exists()
            locked = tree.snakemake(target, check=False)
            assert "--unlock" in locked                             # Snakemake says what to do
            tree.snakemake("--unlock")
        out = tree.snakemake(target)
        assert ("continuing after epoch" in out) == kill
        assert not list((tree.at / "scratch").glob("*"))
        digests.append((tree.at / target).read_bytes())
    assert digests[0] == digests[1]
