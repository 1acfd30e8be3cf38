"""Spiking transformers: attention by gates down to the core, attention by products in full precision alone."""
import pytest
import torch
from spikeproof_hdl.plan import CorePlan
from test_models import tiny_data, tiny_of
from traces import assert_equal_traces

from spikeproof import integer
from spikeproof.architectures.shapes import channel_groups
from spikeproof.convert import check_equal, to_codes, to_spec
from spikeproof.entries import make
from spikeproof.models import CodeNetwork
from spikeproof.training import fit
from spikeproof.training_options import TrainingOptions


def lively(architecture, data):
    model = tiny_of(data, {"kind": "lif", "leak_shift": 1}, architecture)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.abs_().mul_(2)
            module.running_var.fill_(0.3)
    return model.eval()


def test_attention_by_gates_is_proven_down_to_the_core():
    data = tiny_data()
    source = lively({"kind": "spike_transformer", "stem": "6C3s2", "blocks": 1}, data)
    model = CodeNetwork.from_float(source, make("quantizers", {"kind": "int", "bits": 8}))
    net, frames = to_spec(model), data.frames["test"]
    assert check_equal(model, net, frames) > 0
    trace = integer.run(net, frames)
    query, key, both = (trace.spikes[f"block1_{name}"] for name in ("query", "key", "both"))
    assert both.any() and (both == query & key).all()
    value, mask, attended = (trace.spikes[f"block1_{name}"] for name in ("value", "mask", "attended"))
    assert 0 < mask.mean() < 1
    assert (attended.reshape(*mask.shape[:2], -1, 6) == value.reshape(*mask.shape[:2], -1, 6) & mask[:, :, None]).all()
    assert_equal_traces(CorePlan.of(net), frames[:2])
    # In full precision the same neurons spike, but for what rounding moves.
    with torch.no_grad():
        expected, got = source(to_codes(frames, True))[1], model(to_codes(frames, True))[1]
    assert len(expected) == len(got) and all(float((a == b).float().mean()) > 0.97 for a, b in zip(expected, got))


def test_gates_and_what_they_open_lose_channels_together():
    data = tiny_data()
    model = CodeNetwork.from_float(lively({"kind": "spike_transformer", "stem": "6C3s2", "blocks": 1}, data),
                                   make("quantizers", {"kind": "int", "bits": 8}))
    joined = next(names for names in channel_groups(model.shapes) if "block1_mask" in names)
    assert {"block1_query", "block1_key", "block1_value", "block1_both", "block1_attended"} <= set(joined)
    small, _ = make("pruners", {"kind": "channel"}).prune(model, data)
    assert check_equal(small, to_spec(small), data.frames["test"]) > 0
    assert small.layers[1].shape.out_channels == 3


def test_attention_by_products_is_the_stated_formula_and_trains():
    data = tiny_data()
    model = lively({"kind": "spikformer", "stem": "6C3", "blocks": 1, "heads": 2, "scale": 0.25}, data)
    x, seen = to_codes(data.frames["test"], True), {}
    layer = next(layer for layer in model.layers if layer.shape.attention is not None)
    original = layer.forward
    layer.forward = lambda maps: seen.setdefault("drive", original(seen.setdefault("maps", dict(maps))))
    with torch.no_grad():
        model(x)
    q, k, v = (seen["maps"][f"block1_{name}"][0].flatten(-2).transpose(-1, -2) for name in ("query", "key", "value"))
    expected = torch.zeros_like(q)                                   # [T, B, tokens, channels]
    for head in (slice(0, 3), slice(3, 6)):
        expected[..., head] = 0.25 * (q[..., head] @ k[..., head].transpose(-1, -2)) @ v[..., head]
    assert torch.allclose(seen["drive"].flatten(-2).transpose(-1, -2), expected, atol=1e-5) and expected.any()
    layer.forward = original
    history = fit(model, data, TrainingOptions(epochs=3, batch_size=16), seed=0, say=lambda text: None)
    assert history[-1]["loss"] < history[0]["loss"]
    with pytest.raises(ValueError, match="^layer block1_attention: attention multiplies spikes by spikes"):
        CodeNetwork.from_float(model, make("quantizers", {"kind": "int", "bits": 8}))
