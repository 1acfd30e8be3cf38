"""All claims over all studies, and our cores beside published ones."""
import shutil

import pandas as pd
import pytest
from conftest import ROOT
from source_tree import SourceTree
from test_cli import cli

from spikeproof.claims import load_claims
from spikeproof.entries import ConfigError
from spikeproof.overview import Places, Tables, claims_table, cores_table, load_cores, page

CLAIMS, CORES, REFERENCES = ROOT / "config" / "claims.yaml", ROOT / "config" / "cores.yaml", ROOT / "results" / "reference"


def test_the_page_of_the_documentation_is_what_the_references_say(tmp_path):
    """docs/claims.md is written, never edited."""
    status, _, err = cli("overview", "--reference-only", "--claims", CLAIMS, "--cores", CORES, "--references", REFERENCES,
                         "--markdown", tmp_path / "claims.md")
    assert status == 0, err
    assert (tmp_path / "claims.md").read_text() == (ROOT / "docs" / "claims.md").read_text(), \
        "run python -m spikeproof overview --reference-only --markdown docs/claims.md"


def test_every_claim_is_there_and_what_was_run_here_counts_first(tmp_path):
    claims = load_claims(CLAIMS)
    committed = claims_table(claims, Places(REFERENCES))
    assert list(committed.claim) == list(claims)
    with_reference = committed[committed["from"] == "reference"]
    assert len(with_reference) > 40 and set(committed[committed["from"] == ""].verdict) == {"not attempted"}
    kept = {study: pd.read_csv(REFERENCES / study / "claims.csv").set_index("claim").verdict for study in set(with_reference.study)}
    assert all(kept[row.study][row.claim] == row.verdict for row in with_reference.itertuples())
    own = pd.read_csv(REFERENCES / "atif_sqnr" / "claims.csv").astype(object)
    own.loc[0, ["verdict", "ours"]] = "not reproduced", "1 dB"
    own.loc[1, ["verdict", "ours"]] = "not attempted", ""             # a study that was cut down says nothing new
    (tmp_path / "atif_sqnr").mkdir()
    own.to_csv(tmp_path / "atif_sqnr" / "claims.csv", index=False)
    found = claims_table(claims, Places(REFERENCES, tmp_path)).set_index("claim")
    first, second, third = (found.loc[name] for name in own.claim[:3])
    assert (first.verdict, first.ours, first["from"]) == ("not reproduced", "1 dB", "run here")
    assert (second.verdict, second["from"]) == ("reproduced", "reference") and third["from"] == "run here"


def test_cores_stand_beside_published_ones():
    cores = cores_table(load_cores(CORES), Places(REFERENCES))
    ours = cores[cores.core == "spikeproof"]
    assert {"MNIST", "Fashion-MNIST"} == set(ours.task) and (ours.proven > 1e6).all() and (ours.cycles > 0).all()
    assert {"Spiker+", "NIR2FPGA"} <= set(cores.core) and cores.source.notna().all()
    runs = pd.read_csv(REFERENCES / "mnist" / "summary.csv")
    int4 = runs[(runs.run == "dense-int4") & runs.lut.notna()]
    row = ours[ours.network.str.startswith("dense-int4 ") & (ours.task == "MNIST")].iloc[0]
    assert row.accuracy == pytest.approx(100 * int4.accuracy.mean()) and row.lut == pytest.approx(int4.lut.mean())
    text, figures = page(Tables(claims_table(load_claims(CLAIMS), Places(REFERENCES)), cores))
    assert "Spiker+" in text and "not attempted" in text and "http" not in text.replace("http://www.w3.org", "")
    assert "<i>Values proven</i> are the spikes" in text and "<i>Cycles an image</i> are" in text and "&lt;" not in text
    assert [of["name"] for of in figures] == ["verdicts", "cores"]
    assert '"MNIST, published",780,93.85,' in figures[1]["csv"]


@pytest.mark.parametrize("text, sentence", [
    ("core: A\n", "must be a list of cores"),
    ("- {core: A, task: MNIST}\n", r"\[1\].source is missing"),
    ("- {core: A, task: MNIST, source: B, lut: -1}\n", r"\[1\].lut must be"),
])
def test_a_wrong_file_of_cores_is_refused(tmp_path, text, sentence):
    (tmp_path / "cores.yaml").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        load_cores(tmp_path / "cores.yaml")


def test_the_stage_says_what_is_wrong(tmp_path):
    assert "one of --out, --table" in cli("overview", "--claims", CLAIMS, "--cores", CORES, "--references", REFERENCES)[2]
    status, _, err = cli("overview", "--table", tmp_path / "a.csv", "--references", tmp_path / "none")
    assert status == 2 and "does not exist: run this in the root of the repository" in err


@pytest.mark.slow
def test_snakemake_makes_it_anew_when_a_study_has_verdicts(tmp_path):
    tree = SourceTree(tmp_path)
    shutil.copytree(REFERENCES, tmp_path / "results" / "reference")
    assert "71 claims" in tree.snakemake("overview")
    found = tmp_path / "results" / "overview"
    assert "Spiker+" in (found / "report.html").read_text() and len([*(found / "figures").glob("*.*v*")]) == 4
    assert "Nothing to be done" in tree.snakemake("overview")
    own = pd.read_csv(REFERENCES / "atif_sqnr" / "claims.csv").astype(object)
    own.loc[0, "verdict"] = "partly"
    (tmp_path / "results" / "atif_sqnr").mkdir()
    own.to_csv(tmp_path / "results" / "atif_sqnr" / "claims.csv", index=False)
    tree.snakemake("overview")
    table = pd.read_csv(found / "claims.csv").set_index("claim")
    assert table.verdict[own.claim[0]] == "partly" and table["from"][own.claim[0]] == "run here"
