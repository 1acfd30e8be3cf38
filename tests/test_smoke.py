"""Full-scale configurations run: a dry run of every study, two optimizer steps of the large networks on few samples."""
import csv

import numpy as np
import pytest
import yaml
from conftest import ROOT
from native_files import WRITERS
from source_tree import SourceTree

STUDIES = sorted(path.stem for path in (ROOT / "config" / "studies").glob("*.yaml"))
#: One of each dataset, network and neuron of the full-scale ATIF study.
CHOSEN = ["cifar10-vgg-u", "cifar100-resnet-ann", "speech-resnet-nu"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return SourceTree(tmp_path_factory.mktemp("smoke"))


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_dry_run_of_every_study(tree, study):
    """Full, and as a smoke run."""
    for smoke in ("false", "true"):
        out = tree.snakemake("-n", "--quiet", "rules", "--config", f"study={study}", f"smoke={smoke}")
        assert "report_study" in out and "total" in out


@pytest.mark.slow
def test_two_steps_of_the_large_networks(tree):
    """VGG-16 and ResNet-18 with the paper's schedules and augmentation, on files written by the encoders of the tests."""
    rng = np.random.default_rng(0)
    for kind in ("cifar10", "cifar100", "speech_commands"):
        WRITERS[kind](tree.at / "data", rng)
    study = yaml.safe_load((tree.at / "config" / "studies" / "atif_full.yaml").read_text())
    study["runs"] = {name: study["runs"][name] for name in CHOSEN}
    path = tree.at / "config" / "studies" / "chosen.yaml"
    path.write_text(yaml.safe_dump(study))
    tree.snakemake("--config", "study=chosen", "smoke=true", "data_dir=data", SPIKEPROOF_OFFLINE="1")
    with open(tree.at / "scratch" / "smoke" / "results" / "chosen" / "summary.csv") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert list(rows) == CHOSEN and not (tree.at / "results").exists()
    weights = {name: int(row["weight_bits"]) / 32 for name, row in rows.items()}
    # Kernels of VGG-16 with two hidden dense layers of 512; ResNet-18 without batch normalisation and biases.
    assert weights["cifar10-vgg-u"] == 14_710_464 + 512 * 512 * 2 + 512 * 10
    assert weights["cifar100-resnet-ann"] == 11_173_962 - 9_600 - 5_130 + 51_200
    assert rows["cifar100-resnet-ann"]["firing_rate"] == "" and float(rows["speech-resnet-nu"]["firing_rate"]) > 0
    page = (tree.at / "scratch" / "smoke" / "results" / "chosen" / "report.html").read_text()
    assert "scaled down: not the full study" in page
