"""The documentation says what the code does: its worked example, its lists, its links."""
import re

import pandas as pd
import pytest
from conftest import ROOT

from spikeproof.catalog import CATALOG
from spikeproof.spec import Leak, NeuronSpec, Store
from spikeproof.stages.verify import differences


def _rows(text, header):
    """Cells of the Markdown table under a header line."""
    lines = text[text.index(header):].splitlines()[2:]
    table = []
    for line in lines:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def test_worked_example_of_the_semantics():
    text = (ROOT / "docs" / "semantics.md").read_text()
    rows = _rows(text, "| step | c | v | leak")
    assert len(rows) == 4
    neuron = NeuronSpec(Leak("subtract_shift", shift=2), Store(-8, 7, 1, "half_up"), "hard")
    code = 0
    for step, c, v, leaked, acc, h, s, _, _, stored in rows:
        assert int(c) == code and int(v) == 2 * code and int(leaked) == neuron.leak(2 * code)
        assert int(h) == int(leaked) + int(acc)
        spike, code = neuron.step(code, int(acc), 10)
        assert (spike, code) == (int(s[0]), int(stored)), step


def fields(model):
    """Names of all fields of a model and of the models in it."""
    for name, field in model.model_fields.items():
        yield name
        if hasattr(field.annotation, "model_fields"):
            yield from fields(field.annotation)


def test_configuration_page_names_every_kind_and_key():
    text = (ROOT / "config" / "README.md").read_text()
    from spikeproof.catalog import load
    from spikeproof.config import HardwareOptions
    assert all(f"`{kind}`" in text for kinds in CATALOG.values() for kind in kinds)
    for section, kinds in CATALOG.items():
        for kind in kinds:
            for field in fields(load(section, kind).Options):
                assert f"`{field}" in text or f"{field}:" in text, (section, kind, field)
    assert all(f"`{field}`" in text for field in HardwareOptions.model_fields)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "config/README.md",
                                  *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_links_and_named_files_exist(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), target
    made = re.findall(r"<!-- file: (\S+) -->", text)                # by the reader, who is told how
    for name in re.findall(r"`((?:src|hdl|tests|workflow|config|docs)/[\w./-]+\.\w+)`", text):
        assert (ROOT / name).exists() or name in made, name


def test_no_machine_path_or_host_in_the_tree():
    import subprocess
    pattern = r"/(work|root|home)/|pypi\.org|download\.pytorch"
    listed = subprocess.run(["git", "grep", "-nIE", pattern, "--", ".", ":!tests/test_docs.py"],
                            cwd=ROOT, capture_output=True, text=True)
    assert listed.returncode == 1, listed.stdout or listed.stderr


def test_reference_results_agree_with_themselves_and_see_changes():
    table = pd.read_csv(ROOT / "results" / "reference" / "default" / "summary.csv")
    assert len(table) == 14 and differences(table, table) == []
    changed = table.copy()
    changed.loc[1, "accuracy"] -= 0.05
    changed.loc[2, "weight_bits"] += 1
    changed = changed.drop(index=5)
    found = differences(changed, table)
    assert len(found) == 3
    assert found[0] == "conv-float seed 0 is in only one of the tables"
    assert differences(changed.drop(columns="weight_bits"), table)[0] == "column weight_bits must be in both tables"
    assert found[1].startswith("dense-int8 seed 0: accuracy must be ") and "weight_bits must be" in found[2]


def test_the_table_of_faults_names_tests_that_exist():
    rows = _rows((ROOT / "docs" / "faults.md").read_text(), "| fault | what is expected")
    sources = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    named = [name for _, _, cell in rows for name in re.findall(r"`(test_\w+)`", cell)]
    assert len(rows) >= 12 and len(named) >= len(rows) and all(f"def {name}(" in sources for name in named)
    assert all(name in named for name in re.findall(r"^def (test_\w+)", (ROOT / "tests" / "test_faults.py").read_text(), re.M))
