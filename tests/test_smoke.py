"""Full-scale configurations run: a dry run of every study, two optimizer steps of the large networks on few samples."""
import csv

import numpy as np
import pytest
import yaml
from conftest import ROOT
from native_files import WRITERS
from source_tree import SourceTree

from spikeproof.config import load_study, parse_config, smoke_config, with_entries
from spikeproof.entries import read_yaml

STUDIES = sorted(path.stem for path in (ROOT / "config" / "studies").glob("*.yaml"))
#: One of each dataset, network and neuron of the full-scale ATIF study.
CHOSEN = ["cifar10-vgg-u", "cifar100-resnet-ann", "speech-resnet-nu"]
#: Of the full-scale CBP study: the others want more memory or minutes than a test should.
FAMILIES = ["tssl-cifar10-ternary"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return SourceTree(tmp_path_factory.mktemp("smoke"))


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_dry_run_of_every_study(tree, study):
    """In full; as a smoke run it is a valid study too, and what runs for days is planned as one."""
    for smoke in ("false", "true") if study.endswith("_full") else ("false",):
        out = tree.snakemake("-n", "--quiet", "rules", "--config", f"study={study}", f"smoke={smoke}")
        assert "report_study" in out and "total" in out
    path = ROOT / "config" / "studies" / f"{study}.yaml"
    whole = with_entries(read_yaml(ROOT / "config" / "config.yaml"), path)
    runs, small = (load_study(path, parse_config(raw))[1] for raw in (whole, smoke_config(whole)))
    assert runs == small


@pytest.mark.slow
def test_verify_without_an_earlier_run_says_so(tree):
    out = tree.snakemake("-n", "verify", "--config", "study=smoke", check=False)
    assert "results/reference/smoke does not exist: of this study there is no earlier run to compare with" in out


def smoke_run(tree, study, chosen, kinds, architectures=None):
    """Some runs of a study, on files written by the encoders of the tests -> (rows of its table by run, its report).

    ``architectures``: other layers for entries of the study, where its own take minutes to synthesise.
    """
    for kind in kinds:
        if not (tree.at / "data" / kind).exists():
            WRITERS[kind](tree.at / "data", np.random.default_rng(0))
    whole = yaml.safe_load((tree.at / "config" / "studies" / f"{study}.yaml").read_text())
    whole["runs"] = {name: whole["runs"][name] for name in chosen}
    whole["defaults"]["seeds"] = [0]
    for name, layers in (architectures or {}).items():
        whole["entries"]["architectures"][name]["layers"] = layers
    (tree.at / "config" / "studies" / "chosen.yaml").write_text(yaml.safe_dump(whole))
    tree.snakemake("--config", "study=chosen", "smoke=true", "data_dir=data", SPIKEPROOF_OFFLINE="1")
    results = tree.at / "scratch" / "smoke" / "results" / "chosen"
    with open(results / "summary.csv") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert list(rows) == chosen and not (tree.at / "results").exists()
    return rows, (results / "report.html").read_text()


@pytest.mark.slow
def test_two_steps_of_constrained_backpropagation(tree):
    """On a published network with the authors' settings."""
    rows, page = smoke_run(tree, "cbp_full", FAMILIES, ("cifar10",))
    assert "Constrained backpropagation" in page
    # Ternary weights (2 bits) but for the first and last layer, of 16 bits here; a weight of 1 for a channel that currents drive.
    inner = 9 * (96 * 256 + 256 * 384 + 384 * 384 + 384 * 256) + 256 * 64 * 1024 + 1024 * 1024
    currents = 256 + 384 + 384 + 256 + 1024 + 1024 + 10
    assert int(rows["tssl-cifar10-ternary"]["weight_bits"]) == 2 * inner + 16 * (27 * 96 + 1024 * 10) + currents


@pytest.mark.slow
def test_two_steps_of_the_large_networks(tree):
    """VGG-16 and ResNet-18 with the paper's schedules and augmentation."""
    rows, page = smoke_run(tree, "atif_full", CHOSEN, ("cifar10", "cifar100", "speech_commands"))
    weights = {name: int(row["weight_bits"]) / 32 for name, row in rows.items()}
    # Kernels of VGG-16 with two hidden dense layers of 512; ResNet-18 without batch normalisation and biases.
    assert weights["cifar10-vgg-u"] == 14_710_464 + 512 * 512 * 2 + 512 * 10
    assert weights["cifar100-resnet-ann"] == 11_173_962 - 9_600 - 5_130 + 51_200
    assert rows["cifar100-resnet-ann"]["firing_rate"] == "" and float(rows["speech-resnet-nu"]["firing_rate"]) > 0
    assert "scaled down: not the full study" in page


@pytest.mark.slow
def test_two_steps_of_a_detector_down_to_the_core(tree):
    """Boxes from simulated events: integers and Verilog have the same membranes, and the report draws boxes."""
    rows, page = smoke_run(tree, "spquant_detection", ["pot4-ternary"], (), {"yolo_small": "4C3s2-MP2-4C3"})
    row = rows["pot4-ternary"]
    assert row["equal"] == row["memory_equal"] == "True" and int(row["dsp"]) == 0
    assert 0 <= float(row["accuracy"]) <= 1 and 'id="boxes"' in page and "mean average precision" in page


@pytest.mark.slow
def test_two_steps_of_masks_and_learned_thresholds_down_to_the_core(tree):
    rows, page = smoke_run(tree, "spquant", ["learned"], ("fashion_mnist",), {"vgg_sq": "2C3s2-AP2-2C3-10"})
    row = rows["learned"]
    assert row["equal"] == row["memory_equal"] == "True" and int(row["dsp"]) == 0
    # Ternary membranes in two bits; the readout's 16; gates have none.
    assert int(row["membrane_bits"]) == 2 * 14 * 14 * 2 + 2 * 7 * 7 * 2 + 16 * 10
    assert "Clipped membranes" in page and "Masks in training" in page
