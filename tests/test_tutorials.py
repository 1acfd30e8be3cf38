"""The pages that teach: their files are written and their commands run, in order, in a copy of the source tree."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT
from source_tree import SourceTree

BLOCK = re.compile(r"<!-- (file|line|run)(?:: (.*?))? -->\n```\w+\n(.*?)```", re.S)


def follow(page, tree):
    """Do what a page says -> what its commands printed."""
    said, environment = [], {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "hdl"]),
                             "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    blocks = BLOCK.findall((ROOT / "docs" / page).read_text())
    assert len(blocks) == (ROOT / "docs" / page).read_text().count("<!-- ")
    for what, argument, text in blocks:
        if what == "file":
            (tree.at / argument).write_text(text)
        elif what == "line":
            name, after = argument.split(" after ")
            before = (tree.at / name).read_text()
            assert before.count(after) == 1
            (tree.at / name).write_text(before.replace(after, f"{after}\n{text.rstrip()}"))
        else:
            done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", text], cwd=tree.at, env=environment, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
            assert (done.returncode != 0) == (argument == "fails"), done.stdout[-3000:]
            said.append(done.stdout)
    return said


@pytest.mark.slow
def test_the_tutorial(tmp_path):
    tree = SourceTree(tmp_path)
    ran, shown, fooled, searched, added = follow("tutorial.md", tree)
    assert "report_study" in ran and "Verilog = integers on" in ran
    assert shown.count("True") == 2 and "four-bit" in shown
    word = r"error: \S*dense2\S*weights\S* word 3 field \d+ must be code -?\d+, not -?\d+ \(1 fields differ\)"
    assert re.search(word, fooled), fooled
    assert "12 candidates" in searched and (tree.at / "scratch/front.svg").exists()
    assert re.search(r"^\* .* half_up ", searched, re.M), searched    # the line that the text speaks of
    assert "rule pretrain:" not in added and added.count("Verilog = integers on") == 1
    table = pd.read_csv(tree.at / "results/first/summary.csv").set_index("run")
    six, = (of for of in json.loads((tree.at / "scratch/front.json").read_text())["candidates"]
            if of["weights"] == of["membranes"] == 6)
    found, = (tree.at / "results/models").glob("**/my_searched/none/evaluate.json")
    assert json.loads(found.read_text())["validation_accuracy"] == pytest.approx(six["accuracy"])
    assert table.memory_bits["searched"] == six["memory_bits"]
    assert (table.accuracy > 0.7).all() and table.dsp.dropna().eq(0).all()
    assert table.memory_bits["ternary"] < table.memory_bits["four-bit"] < table.memory_bits["full-precision"] / 4


@pytest.mark.slow
def test_a_quantizer_of_ones_own(tmp_path):
    tree = SourceTree(tmp_path)
    ran, = follow("extend.md", tree)
    assert "Verilog = integers on" in ran and "no-zero" in ran and "True" in ran
    table = pd.read_csv(tree.at / "results/mine/summary.csv").set_index("run")
    assert table.accuracy["no-zero"] > 0.7 and table.bits_per_weight["no-zero"] == 3
