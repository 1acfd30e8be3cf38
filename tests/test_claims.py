"""Claims: the file fits the studies, verdicts follow the stated rule; the SQNR study has numbers that were found independently."""
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from spikeproof.analyses.atif_sqnr import AtifSqnr, Decoder, general_rule, printed_equations, spike_counts, wrong_share
from spikeproof.claims import VERDICTS, Claim, Control, Measure, Outcome, judge, load_claims, measured, table
from spikeproof.config import load_study, parse_config, with_entries
from spikeproof.entries import ConfigError, read_yaml
from spikeproof.report import COLUMNS
from spikeproof.stages.verify import changed_verdicts

SHIPPED = read_yaml(ROOT / "config" / "config.yaml")
CLAIMS = load_claims(ROOT / "config" / "claims.yaml")


def claim(**values):
    return Claim(**{"paper": "P", "where": "w", "says": "s", "value": 4.0, "tolerance": 1.0, "study": "s", "needs": "n",
                    "measure": Measure(run="a"), **values})


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_claim_names_what_its_study_has(name):
    one = CLAIMS[name]
    path = ROOT / "config" / "studies" / f"{one.study}.yaml"
    study, runs = load_study(path, parse_config(with_entries(SHIPPED, path)))
    measures = [one.measure, *(control.measure for control in one.controls)] if one.measure else []
    for measure in measures:
        assert set(measure.runs) <= {run.name for run in runs}
        assert measure.analysis is None or measure.analysis in study.analyses
        assert measure.of in COLUMNS


def test_every_paper_value_that_was_recovered_is_there():
    """Figures of the ATIF paper, derived ones marked: accuracies, their differences, sparsity, size."""
    values = {(c.value, c.derived) for c in CLAIMS.values() if c.paper == "ATIF"}
    assert {(94.65, False), (93.84, True), (89.68, True), (95.96, True), (4.16, True), (0.81, True), (1.31, True), (11.1, False),
            (94.31, False), (94.46, True), (44.74, False), (10.0, False), (5.0, False), (3.0, False)} <= values


@pytest.mark.parametrize("compare, mean, sd, seeds, verdict", [
    ("about", 4.9, 0.1, 3, "reproduced"), ("about", 3.0, 0.1, 3, "reproduced"), ("about", 5.1, 0.1, 3, "partly"),
    ("about", 2.0, 0.1, 3, "partly"), ("about", 1.9, 0.1, 3, "not reproduced"), ("about", 8.1, 0.1, 3, "not reproduced"),
    ("about", 2.5, 2.5, 3, "not reproduced"), ("about", -4.0, 0.1, 3, "not reproduced"), ("about", 2.5, None, 1, "partly"),
    ("at_least", 40.0, 0.1, 3, "reproduced"), ("at_least", 3.0, 0.1, 3, "reproduced"), ("at_least", 2.9, 0.1, 3, "partly"),
    ("at_least", 1.9, 0.1, 3, "not reproduced"), ("at_most", -9.0, 0.1, 3, "reproduced"), ("at_most", 5.1, 0.1, 3, "partly"),
    ("at_most", 8.1, 0.1, 3, "not reproduced")])
def test_verdict(compare, mean, sd, seeds, verdict):
    assert judge(claim(compare=compare), Outcome(mean, sd, seeds)) == verdict


@pytest.mark.parametrize("mean, verdict", [(-0.5, "reproduced"), (-1.5, "partly"), (-5.0, "not reproduced"),
                                           (-80.0, "not reproduced"), (2.0, "reproduced")])
def test_a_drop_of_at_most_so_much(mean, verdict):
    assert judge(claim(compare="at_least", value=-1, tolerance=0), Outcome(mean, 0.1, 3)) == verdict


@pytest.mark.parametrize("mean, sd, seeds, verdict", [(0.2, 2.3, 3, "not reproduced"), (0.2, 0.1, 3, "reproduced"),
                                                      (-0.2, 0.1, 3, "not reproduced"), (0.2, None, 1, "not reproduced")])
def test_a_gain_must_be_clear_of_zero(mean, sd, seeds, verdict):
    assert judge(claim(compare="gain", value=0, tolerance=0), Outcome(mean, sd, seeds)) == verdict


def test_a_measure_that_is_not_there_is_told_as_not_attempted():
    """A study that needs a machine that was not at hand has a measure: whoever runs it gets a verdict."""
    import pandas as pd
    claims = {"one": claim(not_attempted="no GPU was at hand")}
    results = pd.DataFrame({"run": ["a", "b"], "seed": [0, 0], "accuracy": [0.04, 0.90]})
    missing = table(claims, "s", False, results[:0], {})
    assert missing.verdict.tolist() == ["not attempted"] and missing.note[0].startswith("No GPU was at hand")
    assert table(claims, "s", False, results, {}).verdict.tolist() == ["reproduced"]


def test_verdict_on_what_holds_and_on_what_was_not_measured():
    holds = claim(compare="holds", value=True, measure=Measure(order=["a", "b"]))
    assert judge(holds, Outcome(True)) == "reproduced" and judge(holds, Outcome(False)) == "not reproduced"
    assert judge(claim(measure=None, not_attempted="no data"), None) == "not attempted"


RESULTS = pd.DataFrame({"run": ["a", "a", "a", "b", "b", "c"], "seed": [0, 1, 2, 0, 1, 0],
                        "accuracy": [0.90, 0.92, 0.94, 0.89, 0.90, 0.95], "firing_rate": [0.1, 0.1, 0.1, 0.2, 0.3, np.nan]})


def test_measures_are_means_over_seeds_and_differences_are_paired():
    assert measured(Measure(run="a"), RESULTS, {}) == Outcome(pytest.approx(92), pytest.approx(2), 3)
    difference = measured(Measure(run="a", minus="b"), RESULTS, {})
    assert difference == Outcome(pytest.approx(1.5), pytest.approx(np.std([1, 2], ddof=1)), 2)      # seed 2 has no partner
    ratio = measured(Measure(run="a", over="b"), RESULTS, {})
    assert ratio == Outcome(pytest.approx((90 / 89 + 92 / 90) / 2), pytest.approx(np.std([90 / 89, 92 / 90], ddof=1)), 2)
    assert measured(Measure(run="c"), RESULTS, {}) == Outcome(pytest.approx(95), None, 1)
    assert measured(Measure(order=["c", "a", "b"]), RESULTS, {}).mean is True
    assert measured(Measure(order=["a", "c", "b"]), RESULTS, {}).mean is False
    assert measured(Measure(analysis="x", quantity="y"), RESULTS, {"x": {"quantities": {"y": 3.5}}}) == Outcome(3.5)
    with pytest.raises(ValueError, match="^run 'c' must have firing_rate in the study's table, and has none$"):
        measured(Measure(run="c", of="firing_rate"), RESULTS, {})
    with pytest.raises(ValueError, match="^the study's table must have the column 'acuracy', and has run, seed, accuracy, firing"):
        measured(Measure(order=["a", "b"], of="acuracy"), RESULTS, {})
    with pytest.raises(ValueError, match="^analysis 'x' must have the quantity 'z', and has y$"):
        measured(Measure(analysis="x", quantity="z"), RESULTS, {"x": {"quantities": {"y": 3.5}}})


def test_table_keeps_to_its_study_and_labels_what_is_scaled_down():
    claims = {"one": claim(value=90.0, tolerance=3.0, unit="%"), "two": claim(study="other"),
              "three": claim(measure=None, not_attempted="no data", note="More."), "four": claim(
                  measure=Measure(analysis="x", quantity="y"), unit="%", controls=[
                      Control(says="as is", measure=Measure(analysis="x", quantity="y")),
                      Control(says="in bits", measure=Measure(analysis="x", quantity="y"), unit="Mbit")])}
    analyses = {"x": {"quantities": {"y": 4.0}}}
    found = table(claims, "s", True, RESULTS, analyses).set_index("claim")
    assert found.verdict.to_dict() == {"one": "reproduced", "three": "not attempted", "four": "reproduced"}
    assert found.ours["one"] == "92.00 ± 2.00 % (n = 3)" and found.value["one"] == "90 %"
    assert found.scaled_down.to_dict() == {"one": True, "three": False, "four": False}
    assert found.note["three"] == "No data. More."
    assert found.controls["four"] == "as is: 4.00 %; in bits: 4.00 Mbit"
    cut = table(claims, "s", True, RESULTS[RESULTS.run == "b"], analyses).set_index("claim")
    assert cut.verdict["one"] == "not attempted"
    assert cut.note["one"] == "Run 'a' must have accuracy in the study's table, and has none."
    smoke = table(claims, "s", True, RESULTS, analyses, skipped="a smoke run")
    assert set(smoke.verdict) == {"not attempted"} and set(smoke.verdict) <= set(VERDICTS)
    changed = found.reset_index().assign(verdict="partly")
    assert changed_verdicts(found.reset_index(), found.reset_index()) == []
    assert changed_verdicts(changed, found.reset_index())[0] == "claim four: the verdict must be 'reproduced', not 'partly'"


@pytest.mark.parametrize("change, message", [
    ({"value": "4"}, "{path}: x.value"), ({"valeu": 1}, "{path}: x.valeu is not a known key; did you mean 'value'?"),
    ({"measure": None}, "{path}: x: a claim must have a measure, or say why it is not attempted"),
    ({"value": None}, "{path}: x: value is missing beside the measure"),
    ({"value": True}, "{path}: x: value must be true or false with compare: holds, and a number otherwise"),
    ({"measure": {"order": ["b", "c"]}},
     "{path}: x: compare must be holds for an order of runs, and for nothing else that is measured on runs"),
    ({"compare": "holds", "value": True},
     "{path}: x: compare must be holds for an order of runs, and for nothing else that is measured on runs"),
    ({"compare": "gain", "measure": {"run": "a", "over": "b"}},
     "{path}: x: compare must not be gain for a ratio, which is not judged against zero"),
    ({"measure": {"run": "a", "minus": "b", "over": "c"}},
     "{path}: x.measure: measure must name an analysis and a quantity, a run (minus or over another), or an order of runs"),
    ({"measure": {"order": ["b", "c"], "over": "c"}},
     "{path}: x.measure: measure must name an analysis and a quantity, a run (minus or over another), or an order of runs"),
    ({"measure": {"run": "a", "order": ["b", "c"]}},
     "{path}: x.measure: measure must name an analysis and a quantity, a run (minus or over another), or an order of runs")])
def test_mistakes_in_claims_are_one_sentence(tmp_path, change, message):
    path = tmp_path / "claims.yaml"
    good = {"paper": "P", "where": "w", "says": "s", "value": 4, "study": "s", "needs": "n", "measure": {"run": "a"}}
    path.write_text(yaml.safe_dump({"x": good}))
    assert load_claims(path)["x"].value == 4
    path.write_text(yaml.safe_dump({"x": {**good, **change}}))
    with pytest.raises(ConfigError) as error:
        load_claims(path)
    assert str(error.value).startswith(message.format(path=path)[:60])


@pytest.fixture(scope="module")
def decoder():
    return Decoder(0.1)


@pytest.mark.parametrize("steps, db", [(4, 0.45), (8, 4.12), (16, 9.44), (20, 11.26), (32, 15.16)])
def test_sqnr_of_a_fixed_threshold(decoder, steps, db):
    assert decoder.sqnr(decoder.uniform(1.0, steps)) == pytest.approx(db, abs=0.01)


@pytest.mark.parametrize("steps, db, sigmas", [(1, 4.69, 0.89), (2, 7.50, 1.29), (4, 11.10, 1.74), (8, 15.31, 2.17),
                                               (16, 19.95, 2.57)])
def test_sqnr_of_the_best_uniform_threshold(decoder, steps, db, sigmas):
    found, threshold = decoder.best_uniform(steps)
    assert found == pytest.approx(db, abs=0.02) and threshold / 0.1 == pytest.approx(sigmas, abs=0.04)


def test_counts_of_a_uniform_threshold_are_floor_and_clamp(decoder):
    """Eq. 7 with what it lacks, for inputs away from the steps."""
    x = decoder.x[np.abs(decoder.x * 4 / 0.17 % 1 - 0.5) < 0.499]
    assert np.array_equal(spike_counts(x, [0.17] * 4).sum(0), np.clip(np.floor(4 * x / 0.17), 0, 4))


def test_sqnr_study_whole(decoder):
    """Values that were found by another program (the control and both decodings included), and the two claims."""
    options = AtifSqnr.Options(kind="atif_sqnr", sweep=[4], slopes=[25.0], iterations=1500)
    q = AtifSqnr(options).run(say=lambda text: None)["quantities"]
    assert q["uniform_gain_db"] == pytest.approx(10.65, abs=0.02)
    assert q["fixed_steps_to_reach_uniform"] == 20 and q["steps_ratio"] == 5
    assert q["half_db"] == pytest.approx(15.13, abs=0.02) and q["half_threshold"] == pytest.approx(0.2135, abs=0.002)
    assert q["uniform_scaled_db"] == pytest.approx(13.63, abs=0.02)
    assert q["non_uniform_p1_db"] == pytest.approx(14.63, abs=0.03)
    assert q["non_uniform_threshold_db"] == pytest.approx(11.57, abs=0.03)
    assert q["non_uniform_scaled_db"] == pytest.approx(15.13, abs=0.03)
    assert q["trained_uniform_db"] == pytest.approx(11.10, abs=0.05)


def test_lloyd_max_of_a_gaussian(decoder):
    """With ten symmetric levels the distortion is 0.02293 sigma^2 (Max, 1960); five on the half-normal are the same."""
    assert decoder.lloyd_max(5) == pytest.approx(-10 * np.log10(0.02293), abs=0.02)


def test_recursion_in_the_study_is_the_tested_one():
    uniform = np.array([1.0, 0.75, 0.5, 0.25])
    assert wrong_share(uniform, general_rule(uniform)) == 0
    assert 0.13 < wrong_share(uniform, printed_equations(uniform)) < 0.16
    assert json.dumps(general_rule(uniform).tolist()) == "[1.0, 1.0, 1.0, 1.0]"
