"""Trainings stop and go on to the same bits, and say when they fail."""

import pytest
import torch
from test_models import QUANTIZERS, tiny_data, tiny_float, tiny_of

from spikeproof import training
from spikeproof.convert import AT_ONCE, batch_size
from spikeproof.entries import make
from spikeproof.models import CodeNetwork
from spikeproof.training_options import TrainingOptions


class Stopped(Exception):
    pass


@pytest.mark.parametrize("coded", [False, True])
def test_a_stopped_training_continues_to_the_same_bits(tmp_path, monkeypatch, coded):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 0)
    data, options = tiny_data(), TrainingOptions(epochs=6, batch_size=16)

    def fresh():
        model = tiny_float(data)
        return CodeNetwork.from_float(model, make("quantizers", QUANTIZERS[1])) if coded else model

    whole = fresh()
    expected = training.fit(whole, data, options, seed=5, say=lambda text: None)
    checkpoint, save, epochs = tmp_path / "c.safetensors", training._save, []

    def stop_after_three(path, epoch, *rest):
        save(path, epoch, *rest)
        epochs.append(epoch)
        if epoch == 3:
            raise Stopped

    monkeypatch.setattr(training, "_save", stop_after_three)
    with pytest.raises(Stopped):
        training.fit(fresh(), data, options, seed=5, checkpoint=checkpoint, say=lambda text: None)
    said, resumed = [], fresh()
    history = training.fit(resumed, data, options, seed=5, checkpoint=checkpoint, say=said.append)
    assert said == ["continuing after epoch 3"] and epochs == [1, 2, 3, 4, 5, 6]
    assert history == expected
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values()):
        assert torch.equal(one, other), name


def test_checkpoints_of_another_job_or_broken_ones_are_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 0)
    data, checkpoint, said = tiny_data(), tmp_path / "c.safetensors", []
    training.fit(tiny_float(data), data, TrainingOptions(epochs=2, batch_size=16), seed=5, checkpoint=checkpoint)
    options = TrainingOptions(epochs=2, batch_size=16)
    training.fit(tiny_float(data), data, options, seed=6, checkpoint=checkpoint, say=said.append)
    training.fit(tiny_float(data), data, options, seed=6, checkpoint=checkpoint, say=said.append, context={"data": "other"})
    other = tiny_float(data)
    other.layers[0].connections[0].weight.data[0] *= 2                              # other weights to start from
    training.fit(other, data, options, seed=6, checkpoint=checkpoint, say=said.append, context={"data": "other"})
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    training.fit(tiny_float(data), data, TrainingOptions(epochs=2, batch_size=16), seed=6, checkpoint=checkpoint, say=said.append)
    foreign = f"{checkpoint} belongs to another configuration: training starts from the first epoch"
    assert said == [foreign, foreign, foreign,
                    f"{checkpoint} is truncated or not a spikeproof checkpoint file: training starts again from the first epoch"]


def test_a_last_batch_of_one_is_left_out_of_the_means():
    """Batch normalization takes two samples or more; what was not computed is not counted."""
    data = tiny_data()
    for part in (data.frames, data.labels):
        part["train"] = part["train"][:17]
    out, = training.fit(tiny_float(data), data, TrainingOptions(epochs=1, batch_size=16), seed=0)
    assert out["train_accuracy"] > 0 and (16 * out["train_accuracy"]).is_integer()
    alone, = training.fit(tiny_float(data), data, TrainingOptions(epochs=1, batch_size=16, max_steps=1), seed=0)
    assert out == alone                                             # firing rate and learning rate too
    for part in (data.frames, data.labels):
        part["train"] = part["train"][:1]
    with pytest.raises(ValueError, match=r"^a training needs two samples or more .*, but the data have one$"):
        training.fit(tiny_float(data), data, TrainingOptions(epochs=1, batch_size=16), seed=0)
    with pytest.raises(ValueError, match="batch_size"):
        TrainingOptions(batch_size=1)


def test_an_exploding_training_says_so():
    data = tiny_data()
    sentence = r"^training: the loss is not finite in epoch 1; lower learning_rate \(now 1e\+30\)$"
    with pytest.raises(FloatingPointError, match=sentence):
        training.fit(tiny_float(data), data, TrainingOptions(epochs=2, batch_size=16, learning_rate=1e30), seed=0)


def test_large_networks_are_evaluated_in_small_batches():
    """No more spikes at once than fit into memory; small networks keep their batches."""
    data = tiny_data()
    small = tiny_of(data, {"kind": "if"}, {"kind": "feedforward", "layers": "4C3-5"})
    assert batch_size(small, 512) == 512
    neurons = sum(shape.neurons for shape in small.shapes)
    small.steps = AT_ONCE // (3 * neurons)
    assert batch_size(small, 512) == 3
    small.steps = AT_ONCE
    assert batch_size(small, 512) == 1
