"""Detection: boxes, their loss and their score, and a detector from simulated events to integers that find the same boxes."""
import numpy as np
import pytest
import torch

from spikeproof import integer
from spikeproof.convert import check_equal, to_spec, values_of
from spikeproof.detection import BoxHead, BoxTargets, mean_average_precision, overlaps
from spikeproof.entries import make
from spikeproof.model_files import build, load_model, save_model
from spikeproof.models import CodeNetwork
from spikeproof.training import accuracy, fit, found_boxes
from spikeproof.training_options import TrainingOptions

HEAD = BoxHead([(8, 8), (4, 12)], 3, (24, 32), (3, 4))


def logits_of(rows, head=HEAD, sure=6.0):
    """Logits [1, N] that say exactly these boxes (left, top, width, height, class)."""
    out = torch.zeros(len(head.anchors), 5 + head.classes, *head.cells)
    out[:, 4] = -sure
    for left, top, width, height, kind in rows:
        x, y = (left + width / 2) / head.cell[1], (top + height / 2) / head.cell[0]
        column, row = int(x), int(y)
        anchor = int(overlaps(np.array([[0, 0, width, height]]), np.array([[0, 0, *of] for of in head.anchors]))[0].argmax())
        own = out[anchor, :, row, column]
        own[:2] = torch.logit(torch.tensor([x - column, y - row]))
        own[2:4] = torch.tensor([width / head.anchors[anchor][0], height / head.anchors[anchor][1]]).log()
        own[4], own[5 + int(kind)] = sure, sure
    return out.reshape(1, -1)


ROWS = [[3.0, 5.0, 9.0, 7.0, 0], [20.0, 2.0, 5.0, 11.0, 2], [17.0, 13.0, 8.0, 8.0, 1]]


def test_overlap_of_boxes():
    one, other = np.array([[0, 0, 4, 2], [10, 10, 1, 1]], float), np.array([[2, 1, 4, 2], [0, 0, 4, 2]], float)
    assert np.allclose(overlaps(one, other), [[2 / 14, 1], [0, 0]])
    assert np.allclose(overlaps(torch.tensor(one), torch.tensor(other)).numpy(), overlaps(one, other))


def test_boxes_that_are_said_are_found():
    found, = HEAD.found(logits_of(ROWS))
    assert len(found) == 3 and found[:, 5].min() > 0.9
    best = sorted(found.tolist(), key=lambda row: row[4])
    for row, wanted in zip(best, sorted(ROWS, key=lambda row: row[4])):
        assert np.allclose(row[:5], wanted, atol=1e-3)
    twice = logits_of([ROWS[0], [3.4, 5.2, 9.0, 7.0, 0]])            # the same cell: the second says it again
    assert len(HEAD.found(twice)[0]) == 1


def test_loss_is_least_where_boxes_are_said_and_falls_towards_them():
    rows = [np.array(ROWS, np.float32)]
    right = BoxTargets(HEAD, rows).loss(logits_of(ROWS, sure=12.0))
    moved = [[left + 3, *rest] for left, *rest in ROWS]
    assert float(right) < 0.01 < float(BoxTargets(HEAD, rows).loss(logits_of(moved, sure=12.0)))
    assert float(BoxTargets(HEAD, [rows[0][:0]]).loss(logits_of([], sure=12.0))) < 0.01
    x = torch.zeros(1, 2 * 8 * 12, requires_grad=True)
    optimizer = torch.optim.Adam([x], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        BoxTargets(HEAD, rows).loss(x).backward()
        optimizer.step()
    found = HEAD.found(x)[0]
    assert mean_average_precision([found], rows, 3)[0] == pytest.approx(1.0, abs=0.01)


def test_mean_average_precision_by_hand():
    """One class: two boxes, the better guess right at overlaps up to 0.6, the other elsewhere."""
    boxes = [np.array([[0, 0, 10, 10, 0], [20, 20, 10, 10, 0]], np.float32)]
    found = [np.array([[0, 0, 10, 6.2, 0, 0.9], [50, 50, 5, 5, 0, 0.8]], np.float32)]
    # Recall 0.5 at precision 1, at overlaps 0.5, 0.55 and 0.6 of ten: 51 of 101 points each.
    assert mean_average_precision(found, boxes, 1) == pytest.approx((0.3 * 51 / 101, 51 / 101), abs=1e-6)
    assert mean_average_precision([np.zeros((0, 6))], boxes, 1) == (0.0, 0.0)


@pytest.fixture(scope="module")
def trained():
    data = make("datasets", {"kind": "moving_shapes", "task": "detection", "train": 300, "validation": 12, "test": 40, "steps": 4,
                             "objects": 1}).prepare()
    from spikeproof.datasets.base import PARTS, PreparedData
    frames = {part: np.concatenate(list(data.frames[part].make())) for part in PARTS}
    data = PreparedData(data.input, data.steps, data.classes, frames, {}, data.about, data.boxes)
    chain = {"architecture": {"kind": "yolo", "layers": "8C3-MP2-16C3-MP2-16C3", "anchors": [[10, 10]]},
             "neuron": {"kind": "plif", "readout": "sum"}, "pretraining": {"kind": "surrogate"}}
    torch.manual_seed(0)
    model = build(chain, data.input, data.steps, data.classes)
    history = fit(model, data, TrainingOptions(epochs=12, batch_size=16, learning_rate=1e-2), seed=0, say=lambda text: None)
    return data, chain, model, history


def test_a_detector_learns_and_its_integers_find_the_same_boxes(trained, tmp_path):
    data, chain, model, history = trained
    assert history[-1]["loss"] < 0.7 * history[0]["loss"] and history[-1]["train_accuracy"] is None
    entry = {"kind": "int", "bits": 8}
    coded = CodeNetwork.from_float(model.eval(), make("quantizers", entry))
    net = to_spec(coded)
    assert check_equal(coded, net, data.frames["test"]) > 0
    scores = integer.run(net, data.frames["test"]).score
    expected = found_boxes(coded, data, "test")
    assert mean_average_precision(expected, data.boxes["test"], data.classes)[1] > 0.12      # at random 0.00
    for ours, theirs in zip(coded.head.found(values_of(coded, net, scores)), expected):
        assert np.array_equal(ours, theirs)
    save_model(tmp_path / "m.safetensors", coded, {**chain, "quantizer": entry}, data.classes)
    again, _ = load_model(tmp_path / "m.safetensors")
    assert accuracy(again, data, "test") == accuracy(coded, data, "test")


def test_detectors_and_classifiers_are_not_mistaken(trained):
    from test_models import tiny_data
    data, _, model, _ = trained
    with pytest.raises(ValueError, match="^the data must have boxes for this network, but have labels"):
        fit(model, tiny_data(), TrainingOptions(epochs=1), seed=0)
    with pytest.raises(ValueError, match="^augmentation must be left out for a detector: boxes would not move along$"):
        fit(model, data, TrainingOptions(epochs=1, augmentation={"flip": True}), seed=0)
