"""Configuration: every shipped study is valid; every kind of mistake gets its sentence; names need no torch."""
import re

import pytest
import yaml
from conftest import ROOT

from spikeproof.catalog import CATALOG
from spikeproof.config import load_study, parse_config, smoke_config, with_entries
from spikeproof.entries import ConfigError, parse_entry, read_yaml

SHIPPED = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
CONFIG = parse_config(SHIPPED)
NEURONS = ", ".join(sorted(CATALOG["neurons"]))
STUDIES = sorted((ROOT / "config" / "studies").glob("*.yaml"))


def test_studies_were_found():
    assert [path.stem for path in STUDIES] == ["atif", "atif_full", "atif_sqnr", "cbp", "cbp_full", "cbp_memory", "default",
                                                 "fashion_mnist", "mnist", "qspinn", "qspinn_full", "smoke", "spquant",
                                                 "spquant_costs", "spquant_detection", "spquant_full"]


#: A network of an analysis by formula, and one of an analysis of trained networks.
COSTED = {"architecture": {"kind": "feedforward", "layers": "4C3-10"}, "shape": [8, 8, 1], "classes": 10, "steps": 4,
          "weight_bits": 4}
CLIPPED = {"dataset": "digits", "architecture": "conv", "neuron": "lif", "pretraining": "surrogate"}


@pytest.mark.parametrize("path", STUDIES, ids=[path.stem for path in STUDIES])
def test_shipped_study_is_valid(path):
    study, runs = load_study(path, parse_config(with_entries(SHIPPED, path)))
    assert study.title and len(runs) >= len(study.runs)
    assert study.scaled_down == (path.stem in ("atif", "cbp", "smoke", "spquant", "spquant_detection"))


def own(section, name, **entry):
    """The shipped configuration with one entry in a section."""
    return {**SHIPPED, section: {name: entry}}


def changed(section, name, **values):
    raw = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    raw[section][name] = {**raw[section][name], **values}
    return raw


@pytest.mark.parametrize("raw, message", [
    (changed("quantizers", "int4_v8", bist=4), "config: quantizers.int4_v8.bist is not a known key; did you mean 'bits'?"),
    (changed("quantizers", "int4_v8", membrane={"bits": 8, "roundin": "floor"}),
     "config: quantizers.int4_v8.membrane.roundin is not a known key; did you mean 'rounding'?"),
    (changed("quantizers", "ternary_v6", width=2), "config: quantizers.ternary_v6.width is not a known key; known keys are "
     "edge_bits, kind, leak, membrane, power_of_two_scale, scale, shortcut_bits, thresholds, training"),
    (changed("quantizers", "int4_v8", training={"learning_rate": "1e-3"}),
     "config: quantizers.int4_v8.training.learning_rate must be a valid number, not '1e-3'; write it as 0.001"),
    (changed("quantizers", "int4_v8", training={"learning_rate": float("inf")}),
     "config: quantizers.int4_v8.training.learning_rate must be a finite number, not inf"),
    (changed("architectures", "conv", layers="4C3s99-10"),
     "config: architectures.conv.layers: layers must have stride of at most 64, not 99 as in '4C3s99'"),
    (changed("architectures", "conv", layers="8C4-10"), "config: architectures.conv.layers: layers must have convolutions with odd "
     "kernels, so that padding keeps the map, not '8C4'"),
    ({**SHIPPED, "datasets": 5}, "config: datasets must be a mapping of keys to values, not 5"),
    ({**SHIPPED, "hardware": []}, "config: hardware must be a mapping of keys to values, not []"),
    ({**SHIPPED, "neurons": {"x": {"kind": ["lif"]}}},
     "config: neurons.x: kind ['lif'] is unknown: it must be one of " + NEURONS + "; did you mean 'lif'?"),
    ({**SHIPPED, "neurons": {"$(ls)": {"kind": "lif"}}},
     "config: neurons: a name must be letters, digits, - and _, and start with a letter or digit, not '$(ls)'"),
    ({**SHIPPED, "neurons": {4: {"kind": "lif"}}},
     "config: neurons: a name must be letters, digits, - and _, and start with a letter or digit, not 4"),
    (changed("quantizers", "int4_v8", bits=17), "config: quantizers.int4_v8.bits must be less than or equal to 16, not 17"),
    (changed("quantizers", "int4_v8", bits="4"), "config: quantizers.int4_v8.bits must be a valid integer, not '4'"),
    (changed("quantizers", "int4_v8", membrane={"bits": 8, "levels": [-1, 1]}),
     "config: quantizers.int4_v8.membrane: bits must be left out where levels are given"),
    (changed("quantizers", "int4_v8", training={"clip_gradient": float("inf")}),
     "config: quantizers.int4_v8.training.clip_gradient must be a finite number, not inf"),
    ({**SHIPPED, "pretraining": {"c": {"kind": "continued", "first": "surrogate"}}},
     "config: pretraining.c.first: must be the whole entry of another pre-training, not 'surrogate'"),
    (changed("quantizers", "int4_v8", membrane={"levels": [1, 2]}),
     "config: quantizers.int4_v8.membrane: levels must be two integers lo <= 0 <= hi from -16 to 15, not both 0, not [1, 2]"),
    (changed("quantizers", "int4_v8", membrane={"gradient": "stacked"}),
     "config: quantizers.int4_v8.membrane: gradient must be clip where no levels are given: stacked has a step for each"),
    (changed("quantizers", "int4_v8", membrane={"levels": [-1, 1, 2]}),
     "config: quantizers.int4_v8.membrane.levels: must be the lowest and the highest code [lo, hi], like [-1, 1], not [-1, 1, 2]"),
    (changed("quantizers", "int4_v8", membrane={"unit": "threshold"}), "config: quantizers.int4_v8.membrane: unit must be left out "
     "where no levels are given: it says what one of them stands for"),
    (changed("quantizers", "int4_v8", membrane={"temperature": 3.0}), "config: quantizers.int4_v8.membrane: temperature must be "
     "left out where gradient is clip: it is the slope of the stacked gradient"),
    (own("architectures", "y", kind="yolo", layers="4C3-MP2"), "config: architectures.y.layers: layers must end in a "
     "convolution, not in the pool 'MP2': write a stride, or a convolution behind it"),
    (own("architectures", "y", kind="yolo", layers="4C3-10"), "config: architectures.y.layers: layers must end in a "
     "convolution: leave out the dense layer '10', the last one is added"),
    (own("architectures", "y", kind="yolo", anchors=[8, 8]), "config: architectures.y.anchors: must be a list of "
     "sizes [width, height], like [[8, 8], [12, 12]], not [8, 8]"),
    (own("architectures", "s", kind="spike_transformer", stem="4C3-AP2"), "config: architectures.s.stem: stem must end "
     "in a convolution, not in the pool 'AP2': write a stride, or a convolution behind it"),
    (own("analyses", "c", kind="network_costs", networks={"n": {**COSTED, "closed_chanels": 0.5}}),
     "config: analyses.c.networks.n.closed_chanels is not a known key; did you mean 'closed_channels'?"),
    (own("analyses", "c", kind="network_costs", networks={"n": {**COSTED, "printed": {"weigths": 1.0}}}),
     "config: analyses.c.networks.n.printed.weigths is not a known key; did you mean 'weights'?"),
    (own("analyses", "c", kind="network_costs", networks={"n": {**COSTED, "shape": [0, 8, 1]}}),
     "config: analyses.c.networks.n.shape.0 must be greater than or equal to 1, not 0"),
    (own("analyses", "c", kind="network_sizes", networks={"n": {**COSTED, "classes": 9}}),
     "config: analyses.c.networks.n.steps is not a known key; known keys are architecture, classes, shape, weight_bits, "
     "weights_only"),
    (own("analyses", "c", kind="network_costs", networks={"n": {**COSTED, "classes": 9}}),
     "config: analyses.c.networks.n: layers must end in 9, the number of classes, not 10"),
    (own("analyses", "c", kind="network_costs", networks={"n": {**COSTED, "architecture": {"kind": "feedforwar"}}}),
     "config: analyses.c.networks.n.architecture: architecture: kind 'feedforwar' is unknown: it must be one of "
     + ", ".join(sorted(CATALOG["architectures"])) + "; did you mean 'feedforward'?"),
    (own("analyses", "c", kind="membrane_clipping", network=CLIPPED, bounds=[-1, 2]),
     "config: analyses.c.bounds: must be different integers of at most 0, in units of the threshold, not [-1, 2]"),
    (own("analyses", "c", kind="membrane_clipping", network={**CLIPPED, "seeds": [-1]}),
     "config: analyses.c.network.seeds.0 must be greater than or equal to 0, not -1"),
    (changed("neurons", "lif", reset="zero"), "config: neurons.lif.reset must be 'soft' or 'hard', not 'zero'"),
    (changed("neurons", "lif", kind="lift"),
     "config: neurons.lif: kind 'lift' is unknown: it must be one of " + NEURONS + "; did you mean 'lif'?"),
    (changed("architectures", "conv", layers="16C3-AB2-10"),
     "config: architectures.conv.layers: layers must be made of words like 16C3, 16C3s2, D3, 32S3, AP2, MP2 and 10, not 'AB2'"),
    (changed("pruners", "half", keep=0), "config: pruners.half.keep must be greater than 0, not 0"),
    ({**SHIPPED, "quantisers": {}}, "config: section 'quantisers' is unknown: it must be one of analyses, architectures, "
     "data_dir, datasets, device, download, grid, hardware, neurons, pretraining, pruners, quantizers, smoke, study; did you mean "
     "'quantizers'?"),
    ({**SHIPPED, "smoke": "maybe"}, "config: smoke must be a valid boolean, not 'maybe'"),
    ({**SHIPPED, "device": "gpu"}, "config: device: must be cpu, cuda, or cuda:1 for the second of several, not 'gpu'"),
    (changed("neurons", "atif_u", first_threshold=[1.0, 0.5]), "config: neurons.atif_u: first_threshold must be two positive "
     "numbers, the smaller one first, not [1.0, 0.5]"),
    (changed("neurons", "atif_u", paths=["resets"]), "config: neurons.atif_u.paths.0 must be 'amplitude', 'comparison' or "
     "'reset', not 'resets'"),
    (changed("architectures", "resnet18", blocks=[2, 0]), "config: architectures.resnet18.blocks.1 must be greater than or "
     "equal to 1, not 0"),
    ({**SHIPPED, "hardware": {"lane": 8}}, "config: hardware.lane is not a known key; did you mean 'lanes'?"),
    ({**SHIPPED, "hardware": {"device": "12k"}},
     "config: hardware.device must be 'auto', '25k', '45k', '85k' or 'up5k', not '12k'"),
    ({**SHIPPED, "neurons": {"x": {}}}, "config: neurons.x.kind is missing: it must be one of " + NEURONS),
    ({**SHIPPED, "quantizers": {"float": {"kind": "binary"}}},
     "config: quantizers.float: the names 'float' and 'none' are reserved"),
])
def test_configuration_mistakes(raw, message):
    with pytest.raises(ConfigError) as error:
        parse_config(raw)
    assert str(error.value) == message


RUN = {"dataset": "digits", "architecture": "dense", "neuron": "lif", "pretraining": "surrogate", "quantizer": "int8_v16"}


@pytest.mark.parametrize("study, message", [
    ({"title": "t", "runs": {"a": {**{k: v for k, v in RUN.items() if k != "quantizer"}, "quantiser": "int8_v16"}}},
     "{path}: runs.a.quantiser is not a known key; did you mean 'quantizer'?"),
    ({"title": "t", "runs": {"a": {**RUN, "quantizer": "int8_v8"}}},
     "{path}: runs.a.quantizer: quantizer 'int8_v8' is unknown: it must be one of "
     f"{', '.join(sorted([*SHIPPED['quantizers'], 'float']))}; did you mean 'int4_v8'?"),
    ({"title": "t", "runs": {"a": {**RUN, "sedes": [1]}}}, "{path}: runs.a.sedes is not a known key; did you mean 'seeds'?"),
    ({"title": "t", "runs": {"a": {**RUN, "seeds": [-1]}}}, "{path}: runs.a.seeds must be 0 or more, not -1"),
    ({"title": "t", "runs": {"a": {k: v for k, v in RUN.items() if k != "neuron"}}}, "{path}: runs.a.neuron is missing"),
    ({"title": "t", "runs": {"a": {**RUN, "quantizer": "float", "pruner": "half"}}},
     "{path}: runs.a: pruner must be 'none' for a float network, not 'half'"),
    ({"title": "t", "runs": {"a/b": RUN}},
     "{path}: runs: a name must be letters, digits, - and _, and start with a letter or digit, not 'a/b'"),
    ({"title": "t", "runs": {"a": 5}}, "{path}: runs.a must be a mapping of keys to values, not 5"),
    ({"title": "t", "defaults": {"datset": "digits"}, "runs": {"a": RUN}},
     "{path}: defaults: key 'datset' is unknown: it must be one of architecture, dataset, hardware, neuron, "
     "pretraining, pruner, quantizer, seeds; did you mean 'dataset'?"),
    ({"title": "t", "runs": {"a": {**RUN, "seeds": [0, 0]}}}, "{path}: runs.a: seed 0 is the same training as that of run 'a'"),
    ({"title": "t", "runs": {"a": RUN, "b": RUN}}, "{path}: runs.b: seed 0 is the same training as that of run 'a'"),
    ({"title": "t", "runs": {}}, "{path}: runs or analyses must name something to do"),
    ({"title": "t", "analyses": ["atif_snr"]}, "{path}: analyses: analysis 'atif_snr' is unknown: it must be one of atif_sizes, "
     "atif_sqnr; did you mean 'atif_sqnr'?"),
    ({"title": "t", "runs": {"a": {**RUN, "neuron": "relu"}}}, "{path}: runs.a: quantizer must be 'float' for neurons that do not "
     "spike ('relu'), not 'int8_v16'"),
    ({"title": "t", "runs": {"a": {**RUN, "architecture": "deep"}}}, "{path}: runs.a.architecture: architecture 'deep' is "
     "unknown: it must be one of conv, conv_strided, dense, dense512, resnet18, resnet_small, vgg16, vgg16_100, vgg_small; did you "
     "mean 'dense'?"),
])
def test_study_mistakes(tmp_path, study, message):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    with pytest.raises(ConfigError) as error:
        load_study(path, CONFIG)
    assert str(error.value) == message.replace("{path}", str(path))


@pytest.mark.parametrize("layers, message", [
    ("8C3-AP3-10", "'AP3' must divide the 8x8 map"), ("16-11", "layers must end in 10, the number of classes, not 11")])
def test_architectures_that_do_not_fit_are_refused_before_training(tmp_path, layers, message):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"title": "t", "runs": {"a": RUN}}))
    with pytest.raises(ConfigError) as error:
        load_study(path, parse_config(changed("architectures", "dense", layers=layers)))
    assert str(error.value) == f"{path}: runs.a: architecture 'dense' on dataset 'digits': {message}"


#: (section, name, entry), names of the run that change, the sentence
NO_CHAIN = [
    (("pretraining", "p", {"kind": "conversion"}), {},
     "pretraining 'p' of neuron 'lif': neurons must be atif_u to be converted to: soft reset, and one threshold per layer "
     "that can be set"),
    (("pretraining", "p", {"kind": "continued", "first": {"kind": "conversion"}}), {},
     "pretraining 'p' of neuron 'lif': neurons must be atif_u to be converted to: soft reset, and one threshold per layer "
     "that can be set"),
    (("pretraining", "p", {"kind": "tssl_bp"}), {"neuron": "counted"},
     "pretraining 'p' of neuron 'counted': loss kernel wants neurons with a synapse, of kind synaptic"),
    (("pretraining", "p", {"kind": "stbp"}), {},
     "pretraining 'p' of neuron 'lif': loss must be cross_entropy or tet for a membrane readout: mse_rate wants spikes"),
    (("pretraining", "p", {"kind": "surrogate", "training": {"augmentation": {"crop": 8}}}), {},
     "pretraining 'p' of neuron 'lif': augmentation.crop must be below 8, the input's shorter side, not 8"),
    (("datasets", "one_bit", {"kind": "digits", "bits": 1, "steps": 4}), {"dataset": "one_bit", "pretraining": "mixing"},
     "pretraining 'mixing' of neuron 'lif': augmentation.mixup must be 0 for an input of one bit: a mixture of spikes has no code"),
    (("quantizers", "q", {"kind": "int", "bits": 4, "training": {"surrogate": "tssl"}}), {"quantizer": "q"},
     "quantizer 'q' for neuron 'lif': surrogate tssl wants neurons with a synapse, of kind synaptic"),
    (("quantizers", "q", {"kind": "cbp"}), {"quantizer": "q"},
     "quantizer 'q' on architecture 'dense': cbp has no layer to constrain: the first and the last keep edge_bits; give them the "
     "levels too (edge_bits: null), or add layers between"),
    (("architectures", "sew", {"kind": "feedforward", "layers": "8C3-8S3-10"}),
     {"architecture": "sew", "neuron": "atif_u", "quantizer": "int4_v8"},
     "quantizer 'int4_v8' on architecture 'sew': layer sew2: spikes that are summed must be worth 1 each: use neurons of a fixed "
     "threshold"),
    (("architectures", "s", {"kind": "spikformer", "stem": "8C3", "heads": 2}), {"architecture": "s", "quantizer": "int4_v8"},
     "quantizer 'int4_v8' on architecture 's': layer block1_attention: attention multiplies spikes by spikes, which the integer "
     "contract cannot say; attention by gates can be said (architecture spike_transformer)"),
    (("architectures", "s", {"kind": "spike_transformer", "stem": "8C3"}), {"architecture": "s", "neuron": "atif_u"},
     "neuron 'atif_u' in architecture 's': layer block1_both: a gate passes spikes on as they are, so they must be worth 1 each: "
     "use neurons of a fixed threshold"),
    (("pruners", "p", {"kind": "masks"}), {"quantizer": "int4_v8", "pruner": "p"},
     "pruner 'p' on architecture 'dense': masks must have a convolution to close: none of dense1, dense2 is one that neurons "
     "drive and that is not the last (the first, which the input drives, has no membranes to go by)"),
    (("pruners", "p", {"kind": "masks"}), {"quantizer": "int4_v8", "pruner": "p", "architecture": "conv", "neuron": "atif_u"},
     "pruner 'p' on architecture 'conv': masks compare membranes in units of what a spike is worth, so it must be worth 1: use "
     "neurons like lif, if, decay, plif or lt_lif"),
    (("neurons", "n", {"kind": "diehl_cook"}), {"neuron": "n", "architecture": "conv"},
     "neuron 'n' in architecture 'conv': layer conv1: neurons of kind diehl_cook have a threshold each and compete as a layer, so "
     "their layers must be dense"),
    (("neurons", "n", {"kind": "per_layer", "layers": {"other": {}}}), {"neuron": "n"},
     "neuron 'n' in architecture 'dense': neuron: layers must say the constants of layer 'dense1' too"),
]


@pytest.mark.parametrize("neuron, architecture, dataset, message", [
    ("n", "conv", "digits", "membrane_clipping wants spiking neurons that do not inhibit each other"),
    ("lif", "boxes", "shapes", "membrane_clipping counts right classes, and this architecture finds boxes")])
def test_membranes_that_cannot_be_clipped_are_refused_before_training(tmp_path, neuron, architecture, dataset, message):
    raw = {**SHIPPED, "neurons": {**SHIPPED["neurons"], "n": {"kind": "relu"}},
           "architectures": {**SHIPPED["architectures"], "boxes": {"kind": "yolo", "layers": "4C3s2"}},
           "datasets": {**SHIPPED["datasets"], "shapes": {"kind": "moving_shapes", "task": "detection"}},
           "analyses": {"c": {"kind": "membrane_clipping", "network": {**CLIPPED, "neuron": neuron, "architecture": architecture,
                                                                       "dataset": dataset}}}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"title": "t", "analyses": ["c"]}))
    with pytest.raises(ConfigError) as error:
        load_study(path, parse_config(raw))
    assert str(error.value) == f"{path}: analyses: c.network: {message}"


@pytest.mark.parametrize("entry, changes, message", NO_CHAIN)
def test_chains_that_cannot_be_trained_are_refused_before_training(tmp_path, entry, changes, message):
    section, name, value = entry
    raw = {**SHIPPED, "pretraining": {**SHIPPED["pretraining"], "mixing": {"kind": "surrogate", "training": {
        "augmentation": {"mixup": 1.0}}}}, "neurons": {**SHIPPED["neurons"], "counted": {"kind": "lif", "readout": "spike_count"}}}
    raw[section] = {**raw[section], name: value}
    path = tmp_path / "study.yaml"
    run = {**RUN, "neuron": "lif", **({"pretraining": name} if section == "pretraining" else {}), **changes}
    path.write_text(yaml.safe_dump({"title": "t", "runs": {"a": run}}))
    with pytest.raises(ConfigError) as error:
        load_study(path, parse_config(raw))
    assert str(error.value) == f"{path}: runs.a: {message}"


def test_hardware_of_a_study_says_what_it_may_be(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"title": "t", "hardware": "first_seeds", "runs": {"a": RUN}}))
    with pytest.raises(ConfigError, match="study.yaml: hardware: must be true, false or first_seed, not 'first_seeds'$"):
        load_study(path, parse_config(SHIPPED))


@pytest.mark.parametrize("hardware, built", [(True, [True] * 3), ("first_seed", [True, False, False]), (False, [False] * 3)])
def test_of_what_cores_are_built(tmp_path, hardware, built):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"title": "t", "hardware": hardware, "runs": {"a": {**RUN, "seeds": [4, 0, 1]}}}))
    _, runs = load_study(path, CONFIG)
    assert [run.hardware for run in runs] == built and ["simulate" in run.results for run in runs] == built
    path.write_text(yaml.safe_dump({"title": "t", "hardware": not built[0],
                                    "runs": {"a": {**RUN, "seeds": [4, 0, 1], "hardware": hardware}}}))
    assert [run.hardware for run in load_study(path, CONFIG)[1]] == built                          # a run has its own say


def test_boxes_are_refused_before_training(tmp_path):
    raw = changed("datasets", "moving_shapes", task="detection")
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"title": "t", "runs": {"a": {**RUN, "dataset": "moving_shapes"}}}))
    with pytest.raises(ConfigError, match="the dataset has boxes, and this architecture decides classes: use kind yolo"):
        load_study(path, parse_config(raw))


@pytest.mark.parametrize("given, meant", [("false", False), ("no", False), (0, False), (False, False), ("true", True)])
def test_download_as_the_command_line_gives_it(given, meant):
    assert parse_config({**SHIPPED, "download": given}).machine.download is meant
    with pytest.raises(ConfigError, match="download must be a valid boolean, not 'maybe'"):
        parse_config({**SHIPPED, "download": "maybe"})


def test_keys_that_stand_twice_and_reserved_study_names(tmp_path):
    (tmp_path / "models.yaml").write_text("title: t\nruns:\n  a: {dataset: x}\n  a: {dataset: y}\n")
    with pytest.raises(ConfigError, match="models.yaml is not valid YAML: key 'a' stands twice"):
        read_yaml(tmp_path / "models.yaml")
    (tmp_path / "q$(ls).yaml").write_text("title: 2001-99-99")
    with pytest.raises(ConfigError, match="q.*yaml is not valid YAML: month must be in 1..12"):
        read_yaml(tmp_path / "q$(ls).yaml")
    with pytest.raises(ConfigError, match=r"the file: a name must be letters, digits, - and _, .*, not 'q\$\(ls\)'$"):
        load_study(tmp_path / "q$(ls).yaml", CONFIG)
    with pytest.raises(ConfigError, match="a study must not be called 'models', which is a folder of results$"):
        load_study(tmp_path / "models.yaml", CONFIG)


def test_missing_and_broken_study_files(tmp_path):
    (tmp_path / "default.yaml").write_text("title: [")
    with pytest.raises(ConfigError, match=r"defualt.yaml does not exist; .* has default; did you mean 'default'\?$"):
        read_yaml(tmp_path / "defualt.yaml")
    with pytest.raises(ConfigError, match="default.yaml is not valid YAML: while parsing"):
        read_yaml(tmp_path / "default.yaml")


def test_what_a_nested_entry_leaves_out_keeps_the_default_of_its_kind():
    entry = parse_entry("pretraining", {"kind": "stbp", "training": {"epochs": 7, "augmentation": {"flip": True}}}, "x")
    assert entry.training.epochs == 7 and entry.training.augmentation.flip and entry.training.augmentation.crop == 0
    assert (entry.training.loss, entry.training.learning_rate, entry.training.surrogate) == ("mse_rate", 1.2, "rectangle")


def test_a_smoke_run_finds_files_that_entries_name(tmp_path, monkeypatch):
    """It has a folder of its own, so paths become whole; lists of bits that are called alike are none."""
    monkeypatch.chdir(tmp_path)
    raw = {"datasets": {"few": {"kind": "imagenet", "class_list": "lists/few.txt", "classes": 3, "steps": 2}},
           "pretraining": {"mine": {"kind": "imported", "weights": "mine.safetensors"}},
           "analyses": {"bits": {"kind": "exploration", "weights": [2, 4]}}}
    small = smoke_config(raw)
    assert small["datasets"]["few"]["class_list"] == str(tmp_path / "lists/few.txt")
    assert small["pretraining"]["mine"]["weights"] == str(tmp_path / "mine.safetensors")
    assert small["analyses"]["bits"]["weights"] == [2, 4]


@pytest.mark.parametrize("text, sentence", [
    ("a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"{y}: &{y} [*{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}]\n" for x, y in zip("abcdefgh", "bcdefghi")),
     "says more than 1,000,000 values: aliases of aliases are too many"),
    ("a: &a [*a]\n", "says more than 1,000,000 values"),
    ("a: " + "[" * 20_000, "is not valid YAML: lists or mappings in one another are too many"),
])
def test_files_that_say_too_much_are_refused(tmp_path, text, sentence):
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="^" + re.escape(f"{path} {sentence}")):
        read_yaml(path)
