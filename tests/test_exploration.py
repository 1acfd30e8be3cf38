"""Exploration: candidates are the networks that would be exported; the front, the choice, parts of a grid, other searches."""
import json
from dataclasses import replace

import pytest
from test_models import tiny_data, tiny_of

from spikeproof import integer
from spikeproof.cli import main
from spikeproof.convert import check_equal, to_spec
from spikeproof.datasets.base import load_prepared, save_prepared
from spikeproof.entries import ConfigError, make, validate
from spikeproof.exploration import PARAMETERS, Candidate, ExplorationOptions, Explorer, chosen, explore, pareto_front, shard
from spikeproof.metrics import float_bits_of
from spikeproof.model_files import load_model, save_model
from spikeproof.models import CodeNetwork
from spikeproof.training import accuracy, fit
from spikeproof.training_options import TrainingOptions

SPACE = {"weights": [2, 4], "membranes": [4, 8], "thresholds": [None, 3], "leaks": [None, 2], "roundings": ["floor", "stochastic"],
         "lanes": [1, 2], "images": 30}
CHAIN = {"architecture": {"kind": "feedforward", "layers": "4C3-AP2-6-5"}, "neuron": {"kind": "lif"},
         "pretraining": {"kind": "surrogate"}}


@pytest.fixture(scope="module")
def trained():
    data = tiny_data(images=40)
    model = tiny_of(data, CHAIN["neuron"], CHAIN["architecture"])
    fit(model, data, TrainingOptions(epochs=3, batch_size=8), seed=0, say=lambda text: None)
    return model.eval(), data


@pytest.fixture
def files(trained, tmp_path):
    model, data = trained
    save_model(tmp_path / "model.safetensors", model, CHAIN, data.classes)
    save_prepared(tmp_path / "data.safetensors", data)
    return ["--model", str(tmp_path / "model.safetensors"), "--data", str(tmp_path / "data.safetensors")]


def space(**changes):
    return ExplorationOptions(**{**SPACE, **changes})


def test_a_candidate_is_the_network_that_would_be_exported(trained):
    model, data = trained
    options = space()
    explorer = Explorer(model, data, options)
    for candidate in (Candidate(4, 8, None, 3, 2, "floor"), Candidate(2, 4, None, None, None, "stochastic")):
        row = explorer.evaluate(candidate)
        model_of = CodeNetwork.from_float(model, make("quantizers", options.entry(candidate))).eval()
        net = to_spec(model_of)
        assert row["memory_bits"] == net.memory_bits()["total"]
        assert row["memory_share"] == row["memory_bits"] / float_bits_of(model)["total"]
        part = slice(0, 30)
        right = integer.run(net, data.frames["validation"][part]).winner == data.labels["validation"][part]
        assert row["accuracy"] == right.mean() and check_equal(model_of, net, data.frames["test"]) > 0
        assert explorer.test(candidate) == (integer.run(net, data.frames["test"]).winner == data.labels["test"]).mean()
        hidden, bits = net.layers[1], candidate.membranes
        assert hidden.projections[0].codec.name == f"int{candidate.weights}" and hidden.neuron.store.bits == bits
        assert hidden.neuron.store.rounding == (candidate.rounding if hidden.neuron.store.shift else "floor")
        assert hidden.neuron.leak.kind == ("subtract_shift" if candidate.leaks is None else "multiply")
        if candidate.thresholds:
            assert all((layer.theta >> layer.theta_shift).max() < 8 for layer in net.layers if layer.theta is not None)


def test_full_precision_counts_the_biases_that_there_are(trained):
    """A network without biases is not said to have 32 bits for each; a normalised layer has an offset."""
    data = trained[1]
    plain = tiny_of(data, CHAIN["neuron"], {"kind": "feedforward", "layers": "6-5", "norm": False})
    for layer in plain.layers:
        layer.connections[0].bias.data.zero_()
    weights, neurons = 32 * 6 + 6 * 5, 11
    assert float_bits_of(plain)["biases"] == 0 and float_bits_of(plain)["total"] == 32 * (weights + neurons)
    plain.layers[1].connections[0].bias.data[2] = 0.5
    assert float_bits_of(plain)["biases"] == 32 * 5
    coded = CodeNetwork.from_float(plain.eval(), make("quantizers", {"kind": "int", "bits": 8}))
    assert float_bits_of(coded) == float_bits_of(plain)
    normal = tiny_of(data, CHAIN["neuron"], {"kind": "feedforward", "layers": "6-5"})
    assert float_bits_of(normal)["biases"] == 32 * 6               # the last layer is not normalised, and has learnt no bias


def test_thresholds_that_no_store_reaches_are_named(trained):
    data = trained[1]
    plain = tiny_of(data, CHAIN["neuron"], {"kind": "feedforward", "layers": "6-5", "norm": False})
    plain.layers[0].connections[0].weight.data.mul_(1e-9)
    with pytest.raises(ValueError, match="^layer dense1: its membranes must reach [0-9,]+ times what a weight of 1 adds, which 4 "
                                         "codes cannot: thresholds are too large for the weights$"):
        CodeNetwork.from_float(plain.eval(), make("quantizers", {"kind": "int", "bits": 8, "membrane": {"bits": 2}}))


def test_kept_sums_change_nothing(trained):
    """Sums of the input are kept for candidates of equal weights: the rows are those of a fresh start."""
    model, data = trained
    explorer = Explorer(model, data, space())
    rows = explorer.search()
    assert len(rows) == 2**5
    for row in rows[::5]:
        candidate = Candidate(*(row[name] for name in PARAMETERS), row["rounding"])
        assert Explorer(model, data, space()).evaluate(candidate) == row


def test_pareto_front_has_what_no_other_beats():
    points = [(5, 0.9), (1, 0.5), (3, 0.5), (2, 0.7), (2, 0.6), (9, 0.9), (4, 0.65)]
    front = pareto_front(points)
    assert front == [1, 3, 0]
    for i, (memory, reached) in enumerate(points):
        beaten = any((m <= memory and a >= reached) and (m, a) != (memory, reached) for m, a in points)
        assert beaten != (i in front)


def test_the_choice_is_the_largest_benefit_within_the_bounds():
    rows = [{"accuracy": a, "memory_bits": bits, "benefit": a - 0.5 * bits / 10_000}
            for a, bits in ((0.5, 500), (0.85, 1000), (0.88, 3000), (0.90, 8000))]
    def of(**bounds):
        best = chosen(rows, 0.9, space(**bounds))
        return None if best is None else best["memory_bits"]
    assert of() == 1000 and of(most_loss=3.0) == 3000 and of(most_loss=1.0) == 8000 and of(most_kbit=0.6) == 500
    assert of(most_loss=3.0, most_kbit=2.0) is None


def test_what_is_at_the_bound_is_within():
    """A mean of three accuracies less 0.01 is, as floats have it, a little more than the mean of each less 0.01."""
    full, below = 0.8503333333333334, 0.8403333333333333
    assert below < full - 0.01
    assert chosen([{"accuracy": below, "memory_bits": 1, "benefit": 0}], full, space(most_loss=1.0)) is not None


def test_explore_looks_at_the_test_part_for_the_front_alone(trained):
    model, data = trained
    result = explore([model], data, space(most_loss=100.0))
    assert len(result["candidates"]) == 32 and result["accuracy_float"] == Explorer(model, data, space()).accuracy_float
    assert result["test_accuracy_float"] == accuracy(model, data, "test")
    keys = [(row["memory_bits"], row["accuracy"]) for row in result["candidates"]]
    assert [(row["memory_bits"], row["accuracy"]) for row in result["front"]] == [keys[i] for i in pareto_front(keys)]
    best = result["front"][result["chosen"]]
    assert best["benefit"] == max(row["benefit"] for row in result["front"])
    assert all(row["benefit"] == row["accuracy"] - 0.1 * row["memory_share"] for row in result["candidates"])
    for row in result["front"]:
        assert [of["lanes"] for of in row["hardware"]] == [1, 2]
        assert row["hardware"][0]["cycles"] > row["hardware"][1]["cycles"]
        assert row["hardware"][0]["lut_estimate"] < row["hardware"][1]["lut_estimate"]
    twice = explore([model, model], data, space(weights=[4], thresholds=[None], leaks=[None], roundings=["floor"]))
    assert all(row["accuracy_sd"] == 0 for row in twice["candidates"]) and twice["networks"] == 2


@pytest.mark.parametrize("quantizer", [{"kind": "ternary"}, {"kind": "fixed_point", "bits": 6, "membrane": {"bits": 8}}])
def test_a_quantized_network_is_explored_too(trained, quantizer):
    """As if it had been quantized so from the start: its trained weights are what is rounded."""
    model, data = trained
    coded = CodeNetwork.from_float(model, make("quantizers", {**quantizer, "training": {"epochs": 0}})).eval()
    for candidate in (Candidate(4, 8, None, 3, 2, "half_up"), Candidate(3, 4, None, None, None, "floor")):
        options = space(roundings=["half_up", "floor"])
        assert Explorer(coded, data, options).evaluate(candidate) == Explorer(model, data, options).evaluate(candidate)


def test_ordered_search_lowers_each_parameter_as_far_as_it_may(trained):
    model, data = trained
    options = space(strategy="ordered", most_loss=0.0, weights=[2, 3, 4, 6], membranes=[3, 4, 8], thresholds=[None, 2, 4],
                    roundings=["half_up"])
    explorer = Explorer(model, data, options)
    rows = explorer.search()
    least = explorer.accuracy_float
    first = rows[0]
    assert [first[name] for name in PARAMETERS] == [6, 8, None, None, None] and len(rows) < 4 * 3 * 3 * 2
    # Weights have most of the memory, so they come first; whatever is tried below a failure is of the next parameter.
    assert rows[1]["weights"] == 4 and [rows[1][name] for name in PARAMETERS[1:]] == [8, None, None, None]
    for before, after in zip(rows[1:], rows[2:]):
        lowered = [name for name in PARAMETERS if (before[name] or 99) > (after[name] or 99)]
        assert len(lowered) <= 1 or before["accuracy"] < least
    assert any(row["accuracy"] < least for row in rows)


def test_optuna_searches_the_same_space(trained):
    model, data = trained
    options = space(strategy="optuna", trials=12, seed=3)
    rows = Explorer(model, data, options).search()
    assert 4 <= len(rows) <= 12 and rows == Explorer(model, data, options).search()
    everything = {tuple(row[name] for name in (*PARAMETERS, "rounding")) for row in Explorer(model, data, space()).search()}
    assert {tuple(row[name] for name in (*PARAMETERS, "rounding")) for row in rows} <= everything


def test_command_writes_front_table_and_figure(files, tmp_path, capsys):
    out = [str(tmp_path / name) for name in ("front.json", "all.csv", "front.svg")]
    assert main(["explore", *files, "--config", json.dumps(SPACE), "--out", out[0], "--table", out[1], "--figure", out[2]]) == 0
    said = capsys.readouterr().out
    result = json.loads((tmp_path / "front.json").read_text())
    assert f"[explore] 32 candidates, {len(result['front'])} on the front, chosen is number" in said
    assert said.count("\n") == 3 + len(result["front"]) and "lanes: cycles, LUT est." in said
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 33 and "<svg" in (tmp_path / "front.svg").read_text()


def test_parts_of_a_grid_give_what_one_job_gives(files, tmp_path, capsys):
    def run(*more, config=SPACE):
        return main(["explore", *files, "--config", json.dumps(config), *more])
    assert run("--out", str(tmp_path / "whole.json")) == 0
    parts = [str(tmp_path / f"part{k}.json") for k in (1, 2, 3)]
    for k, path in enumerate(parts, 1):
        assert run("--part", f"{k}/3", "--out", path) == 0
    assert run("--rows", *parts, "--out", str(tmp_path / "again.json")) == 0
    whole, again = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "again"))
    assert {**whole, "provenance": 0} == {**again, "provenance": 0}
    capsys.readouterr()
    assert run("--rows", *parts[:2], "--out", str(tmp_path / "no.json")) != 0
    assert "of 32 candidates are in none of" in capsys.readouterr().err
    assert run("--rows", *parts, "--out", str(tmp_path / "no.json"), config={**SPACE, "images": 20}) != 0
    assert "has rows of another search, model or data: evaluate its part again" in capsys.readouterr().err
    assert not (tmp_path / "no.json").exists()


def test_bounds_and_lanes_cost_no_candidate(files, tmp_path, capsys):
    """Rows of parts are taken for other bounds, another weight of memory and other cores; not for other images."""
    def run(*more, **changes):
        return main(["explore", *files, "--config", json.dumps({**SPACE, **changes}), *more])
    assert run("--part", "1/1", "--out", str(tmp_path / "rows.json")) == 0
    changes = {"mu": 0.5, "most_loss": 50.0, "most_kbit": 1000.0, "lanes": [3]}
    assert run("--rows", str(tmp_path / "rows.json"), "--out", str(tmp_path / "a.json"), **changes) == 0
    assert run("--out", str(tmp_path / "b.json"), **changes) == 0
    a, b = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    assert {**a, "provenance": 0} == {**b, "provenance": 0} and a["options"]["mu"] == 0.5
    capsys.readouterr()
    assert run("--rows", str(tmp_path / "rows.json"), "--part", "1/1", "--out", str(tmp_path / "c.json")) != 0
    assert "--part evaluates rows and --rows takes them: leave out one of them" in capsys.readouterr().err
    for name, text in (("a.json", None), ("list.json", "[1]"), ("some.csv", "a,b")):
        if text:
            (tmp_path / name).write_text(text)
        assert run("--rows", str(tmp_path / name), "--out", str(tmp_path / "c.json")) != 0
        assert f"{name} has no rows of a part, as --part writes them" in capsys.readouterr().err


def test_a_search_that_is_stopped_goes_on(files, tmp_path, capsys, monkeypatch):
    """What was evaluated before it was stopped is not evaluated again, and the result is the same."""
    from spikeproof.stages import explore as stage
    monkeypatch.setattr(stage, "KEEP_EVERY", 0.0)
    whole, evaluate, seen = tmp_path / "whole.json", Explorer.evaluate, []
    command = ["explore", *files, "--config", json.dumps(SPACE), "--out"]
    assert main([*command, str(whole)]) == 0

    def counted(self, candidate):
        seen.append(candidate)
        if len(seen) == 10:
            raise RuntimeError("stopped")
        return evaluate(self, candidate)
    monkeypatch.setattr(Explorer, "evaluate", counted)
    assert main([*command, str(tmp_path / "out.json")]) != 0 and not (tmp_path / "out.json").exists()
    capsys.readouterr()
    assert main([*command, str(tmp_path / "out.json")]) == 0
    assert "9 candidates are known from a search that was stopped" in capsys.readouterr().out
    assert len(seen) == 10 + 32 - 9 and not (tmp_path / "out.json.partial").exists()
    one, other = (json.loads(path.read_text()) for path in (whole, tmp_path / "out.json"))
    assert {**one, "provenance": 0} == {**other, "provenance": 0}


def test_currents_are_a_parameter():
    """Synapses with a time constant keep currents: they have bits of their own, in the search and in memory."""
    data = tiny_data(images=30)
    model = tiny_of(data, {"kind": "synaptic", "readout": "spike_count"}, {"kind": "feedforward", "layers": "6-5"}).eval()
    explorer = Explorer(model, data, space(currents=[None, 4, 8], roundings=["floor"]))
    rows = {bits: explorer.evaluate(Candidate(4, 8, bits, None, None, "floor")) for bits in (None, 4, 8)}
    neurons = 5                                                      # of the last layer: the input is not filtered
    assert [rows[bits]["currents_bits"] for bits in (4, 8, None)] == [4 * neurons, 8 * neurons, 16 * neurons]
    assert rows[4]["membranes_bits"] == rows[8]["membranes_bits"] == 8 * 11
    assert rows[8]["memory_bits"] - rows[4]["memory_bits"] == 4 * neurons


def test_parts_share_weights():
    candidates = space().candidates
    parts = [shard(candidates, k, 3) for k in range(3)]
    assert sorted(map(str, sum(parts, []))) == sorted(map(str, candidates)) and all(parts)
    for part in parts:
        assert len({(of.weights, of.rounding) for of in part}) <= 2


@pytest.mark.parametrize("changes, message", [
    ({"weights": [17]}, "space: weights: 17 of fixed_point: quantizer.bits must be less than or equal to 16, not 17"),
    ({"quantizer": {"kind": "ternary"}}, "space: weights: 2 of ternary: weights must be [null], for its levels are given"),
    ({"membranes": [4, 4]}, "space.membranes: must be different values, not [4, 4]"),
    ({"strategy": "ordered"}, "space: most_loss must be given for the strategy ordered: it says how low precision may go"),
    ({"quantizer": {"kind": "fixd_point"}}, None),
    ({"lanes": [16, 0]}, "space.lanes.1 must be greater than or equal to 1, not 0"),
    ({"quantizer": "int4"}, "space.quantizer: must be a whole entry, such as {kind: fixed_point}, not the name 'int4'"),
    ({"wheights": [2]}, "space.wheights is not a known key; did you mean 'weights'?"),
])
def test_spaces_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError) as error:
        validate(ExplorationOptions, {**SPACE, **changes}, "space")
    if message:
        assert str(error.value) == message
    else:
        assert "did you mean 'fixed_point'?" in str(error.value)


def test_boxes_and_parts_of_a_search_that_has_none_are_refused(files, capsys, tmp_path):
    ordered = json.dumps({**SPACE, "strategy": "ordered", "most_loss": 1.0})
    assert main(["explore", *files, "--config", ordered, "--part", "1/2", "--out", str(tmp_path / "x")]) != 0
    assert "--part must be left out for strategy ordered, which goes from candidate to candidate" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["explore", *files, "--part", "3/2", "--out", str(tmp_path / "x")])
    assert "must be from 1/2 to 2/2, not 3/2" in capsys.readouterr().err
    data, _ = load_prepared(files[3])
    with pytest.raises(ValueError, match="^exploration compares shares of right classes, and these data have boxes$"):
        Explorer(load_model(files[1])[0], replace(data, boxes={}), space())
