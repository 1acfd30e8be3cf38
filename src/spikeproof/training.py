"""Training: one loop for full precision and for codes, with checkpoints that resume to the same bits."""
from __future__ import annotations

import hashlib
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from . import kernels, winograd
from .augmentation import Targets, augment
from .convert import batch_size, batches, to_codes
from .detection import BoxTargets, mean_average_precision
from .files import CorruptFile, canonical_json, check_kind, read_container, write_container
from .training_options import AugmentationOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from .annotations import Array, Entry, Json, Say, StrPath
    from .datasets.base import PreparedData
    from .models import CodeNetwork, FloatNetwork
    from .training_options import TrainingOptions

    Network: TypeAlias = CodeNetwork | FloatNetwork
    #: The loss of a batch, logits, and spikes of the layers.
    Losses: TypeAlias = tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]

__all__ = ["Method", "Together", "accuracy", "check_input", "evaluated", "firing_rates", "fit", "read_checkpoint", "seed_of"]

CHECKPOINT = "spikeproof checkpoint"
#: Seconds between checkpoints.
CHECKPOINT_EVERY = 2.0


def seed_of(*names: str | float) -> int:
    """A 63-bit seed from names and numbers, the same on every machine."""
    return int.from_bytes(hashlib.sha256(canonical_json(names).encode()).digest()[:8], "little") >> 1


def evaluated(model: Network, data: PreparedData, part: str, dtype: torch.dtype = torch.float32) -> Iterator[torch.Tensor]:
    """The batches of a part that evaluation takes."""
    return batches(data.frames[part], data.input.constant, dtype, batch_size(model, 512))


def taking(data: PreparedData, part: str, most: int) -> PreparedData:
    """The same data with at most so many samples of a part, the first ones."""
    labels = {**data.labels, part: data.labels[part][:most]} if data.labels else {}
    return replace(data, frames={**data.frames, part: data.frames[part][:most]}, labels=labels)


def found_boxes(model: Network, data: PreparedData, part: str, dtype: torch.dtype = torch.float32) -> list[Array]:
    """Boxes that a detector finds in each image of a part: list of arrays [n, 6] (:meth:`spikeproof.detection.BoxHead.found`)."""
    model.eval()
    assert model.head is not None
    device = next(model.parameters()).device
    with torch.no_grad():
        return [rows for x in evaluated(model, data, part, dtype) for rows in model.head.found(model(x.to(device))[0])]


def accuracy(model: Network, data: PreparedData, part: str, dtype: torch.dtype = torch.float32) -> float:
    """Fraction of right decisions on one part, in evaluation mode, or of a detector COCO's mean average precision.

    Parameters
    ----------
    dtype : that of the module
    """
    if model.head is not None:
        assert data.boxes is not None
        return mean_average_precision(found_boxes(model, data, part, dtype), data.boxes[part], data.classes)[0]
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        winners = [model.decide(x.to(device)) for x in evaluated(model, data, part, dtype)]
    return float((np.concatenate(winners) == data.labels[part]).mean())


def firing_rates(model: Network, data: PreparedData, part: str, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Mean number of spikes per neuron and step, over one part -> list of float64 [C], per firing layer and channel."""
    model.eval()
    total: list[torch.Tensor] | None = None
    with torch.no_grad():
        for x in evaluated(model, data, part, dtype):
            sums = [s.mean((0, 3, 4)).sum(0).double() for s in model(x)[1]]
            total = sums if total is None else [a + b for a, b in zip(total, sums)]
    assert total is not None                                         # no part is empty
    return [of / len(data.frames[part]) for of in total]


class Method:
    """What a training method adds to the loop of :func:`fit`; this one adds nothing.

    Members
    -------
    rate : float, by which the learning rate is multiplied
    """
    rate = 1.0

    def start(self, model: Network) -> None:
        """Before the first epoch, or before what a checkpoint says is taken over."""

    def loss(self, model: Network, x: torch.Tensor, targets: Targets | BoxTargets) -> Losses | None:
        """In place of the network's loss: (scalar tensor, logits [B, classes], list of spikes) of a batch, or None."""
        return None

    def penalty(self) -> torch.Tensor | None:
        """A term of the loss beside the task's, a scalar tensor, or None."""
        return None

    def after_step(self) -> None:
        """After each step of the optimizer."""

    def after_epoch(self, loss: float) -> dict[str, float]:
        """After each epoch, with the sum of the loss (penalty included) over its batches -> dict for the history."""
        return {}

    def remark(self) -> str:
        """What to tell of the training when it is done, or ""."""
        return ""

    def state(self) -> tuple[Json, dict[str, torch.Tensor]]:
        """(JSON value, dict of tensors) that :meth:`restore` continues from."""
        return None, {}

    def restore(self, value: Json, tensors: dict[str, torch.Tensor]) -> None:
        """Continue from what :meth:`state` gave."""


class Together(Method):
    """Several methods as one.

    Parameters
    ----------
    methods : list of Method
    """
    def __init__(self, methods: list[Method]) -> None:
        self.methods = methods

    @property
    def rate(self) -> float:                                         # type: ignore[override]
        return math.prod(of.rate for of in self.methods)

    def start(self, model: Network) -> None:
        for of in self.methods:
            of.start(model)

    def loss(self, model: Network, x: torch.Tensor, targets: Targets | BoxTargets) -> Losses | None:
        return next((found for of in self.methods if (found := of.loss(model, x, targets)) is not None), None)

    def penalty(self) -> torch.Tensor | None:
        given = [penalty for of in self.methods if (penalty := of.penalty()) is not None]
        return sum(given) if given else None                         # type: ignore[return-value]

    def after_step(self) -> None:
        for of in self.methods:
            of.after_step()

    def after_epoch(self, loss: float) -> dict[str, float]:
        return {key: value for of in self.methods for key, value in of.after_epoch(loss).items()}

    def remark(self) -> str:
        return "; ".join(filter(None, (of.remark() for of in self.methods)))

    def state(self) -> tuple[Json, dict[str, torch.Tensor]]:
        states = [of.state() for of in self.methods]
        return [value for value, _ in states], {f"{k}.{name}": of for k, (_, tensors) in enumerate(states)
                                                for name, of in tensors.items()}

    def restore(self, value: Json, tensors: dict[str, torch.Tensor]) -> None:
        for k, (of, own) in enumerate(zip(self.methods, value, strict=True)):
            of.restore(own, {name.removeprefix(f"{k}."): tensor for name, tensor in tensors.items() if name.startswith(f"{k}.")})


def _save(path: StrPath, epoch: int, model: Network, optimizer: torch.optim.Optimizer, history: list[Entry], job: Entry,
          method: Method) -> None:
    tensors = {f"model.{name}": value.cpu().numpy() for name, value in model.state_dict().items()}
    for n, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:                                    # SGD keeps nothing without momentum
                tensors[f"optimizer.{n}.{name}"] = value.cpu().numpy()
    own, more = method.state()
    tensors |= {f"method.{name}": value.cpu().numpy() for name, value in more.items()}
    write_container(path, CHECKPOINT, {"epoch": epoch, "history": history, "job": job, "method": own}, tensors)


def check_input(model: Network, data: PreparedData) -> None:
    """ValueError where the data are not what the network takes: shape of an image, bits, steps of frames."""
    if model.input_spec != data.input:
        ours, theirs = ("{} x {} x {} of {} bits, ".format(*of.shape, of.bits)
                        + ("one frame" if of.constant else "a frame per step") for of in (model.input_spec, data.input))
        raise ValueError(f"the data must be what the network was made for, {ours}, not {theirs}")


def read_checkpoint(path: StrPath | None, kind: str, job: Entry, unit: str, say: Say) -> tuple[Entry, dict[str, Array]] | None:
    """(description, tensors) of a checkpoint of the same job, or None where there is none, or a broken one or another's, which is
    said; ``unit`` is what a training counts. ValueError where the file is no checkpoint."""
    if path is None or not Path(path).exists():
        return None
    check_kind(path, kind)
    try:
        description, tensors, _ = read_container(path, kind, f"training starts again from the first {unit}")
    except CorruptFile as error:
        say(str(error))
        return None
    if description.get("job") != job:
        say(f"{path} belongs to another configuration: training starts from the first {unit}")
        return None
    return description, tensors


def _load(path: StrPath | None, model: Network, optimizer: torch.optim.Optimizer, job: Entry, say: Say,
          method: Method) -> tuple[int, list[Entry]]:
    """Continue from a checkpoint of the same job -> (next epoch, history); (0, []) where there is none."""
    found = read_checkpoint(path, CHECKPOINT, job, "epoch", say)
    if found is None:
        return 0, []
    description, tensors = found
    own = {n.removeprefix("model."): torch.from_numpy(v) for n, v in tensors.items() if n.startswith("model.")}
    model.load_state_dict(own)
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, n, field = name.split(".")
            state.setdefault(int(n), {})[field] = torch.from_numpy(value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    method.restore(description["method"], {name.removeprefix("method."): torch.from_numpy(value) for name, value in tensors.items()
                                           if name.startswith("method.")})
    say(f"continuing after epoch {description['epoch']}")
    return description["epoch"], description["history"]


def _digest_of(model: Network) -> str:
    """Digest of all parameters and buffers."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(name.encode() + value.cpu().numpy().tobytes())
    return total.hexdigest()


def _optimizer(model: Network, options: TrainingOptions) -> torch.optim.Optimizer:
    """Weight decay pulls weights to zero, but neither thresholds nor the steps of a quantizer."""
    free = {name for name, _ in model.named_parameters() if ".threshold." in name or name.endswith(".step")}
    groups = [{"params": [p for name, p in model.named_parameters() if name not in free], "weight_decay": options.weight_decay},
              {"params": [p for name, p in model.named_parameters() if name in free], "weight_decay": 0.0}]
    if options.optimizer == "adamax":
        return torch.optim.Adamax(groups, lr=options.learning_rate, betas=(0.0, 0.95))
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.learning_rate, momentum=options.momentum)
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)   # one pass over memory


def _targets_of(model: Network, data: PreparedData) -> Callable[[torch.Tensor], Targets | BoxTargets]:
    """Function of a tensor of training images' numbers -> what the loss compares with."""
    head, boxes = model.head, data.boxes
    if head is not None:
        assert boxes is not None
        return lambda index: BoxTargets(head, [boxes["train"].of(k) for k in index.tolist()])
    labels = torch.from_numpy(np.array(data.labels["train"]))
    return lambda index: Targets(labels[index])


def fit(model: Network, data: PreparedData, options: TrainingOptions, seed: int, checkpoint: StrPath | None = None,
        context: Json = None, label: str = "training", say: Say = print, device: str = "cpu",
        method: Method | None = None) -> list[Entry]:
    """Train in place on the training part.

    The data order of an epoch and the learning rate of a step depend on (seed, epoch, step) alone, so a
    training that continues from a checkpoint gives the same bits as one that was never stopped.

    Parameters
    ----------
    model : FloatNetwork or CodeNetwork
    data : PreparedData
    options : TrainingOptions
    seed : int
    checkpoint : path or None; written every few seconds, removed by the caller when its result is safe
    context : JSON value that says what else the training depends on (data digest, configuration, code). A checkpoint
        of another context, or of other initial weights, is not continued.
    label : str, for the progress bar
    method : Method, what is added to the loop, or None
    device : "cpu", or a CUDA device of torch; bits are the same in every run on a CPU alone. The model ends on the CPU.

    Returns
    -------
    list of dicts, one per epoch: epoch, loss, train_accuracy, validation_accuracy, firing_rate, learning_rate

    Raises
    ------
    FloatingPointError
        If the loss is not finite.
    ValueError
        If the training does not fit the neurons or the input (TrainingOptions.check), the data are not the network's or are too
        few, torch finds no such device, kernels that the options name cannot be built, or ``checkpoint`` is another file.
    """
    if device == "cpu" and kernels.complaint():
        say(kernels.complaint())
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device must be cpu where torch finds no CUDA device, not {device!r}")
    options.check(model.neuron, data.input)
    if model.head is not None:
        options.check_boxes(model.neuron)
    if (model.head is None) != (data.boxes is None):
        has, wants = ("boxes", "labels") if model.head is None else ("labels", "boxes")
        raise ValueError(f"the data must have {wants} for this network, but have {has}: choose a dataset with {wants}")
    check_input(model, data)
    if len(data.frames["train"]) < 2:
        raise ValueError("a training needs two samples or more (batch normalization does), but the data have one")
    if options.wants_synapses:
        assert model.neuron.synapse is not None
        model.surrogate.decay = model.neuron.synapse.beta
    model.surrogate.name, model.surrogate.width = options.surrogate, options.surrogate_width
    augmentation = options.augmentation
    frames = data.frames["train"]                                    # a map of the file: batches are taken out of it
    count = len(frames)
    targets_of = _targets_of(model, data)
    per_epoch = count // options.batch_size + (count % options.batch_size > 1)   # batch normalization needs two samples
    if options.max_steps is not None:
        per_epoch = min(per_epoch, options.max_steps)
    total, seen = per_epoch * options.epochs, min(per_epoch * options.batch_size, count)
    job = {"options": options.model_dump(), "seed": seed, "images": count, "start": _digest_of(model), "context": context}
    optimizer = _optimizer(model.to(device), options)
    method = method or Method()
    method.start(model)
    start, history = _load(checkpoint, model, optimizer, job, say, method)
    saved = time.monotonic()
    if not options.epochs:
        history = [{"epoch": 0, "loss": None, "train_accuracy": None, "validation_accuracy": accuracy(model, data, "validation"),
                    "firing_rate": None, "learning_rate": 0.0, **method.after_epoch(0.0)}]
    bar = tqdm(range(start, options.epochs), desc=label, unit="epoch", initial=start, total=options.epochs, mininterval=1)
    for epoch in bar:
        model.train()
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed_of(seed, "order", epoch)))
        loss_sum, whole_loss, right, rate = 0.0, 0.0, 0, 0.0
        for n, index in enumerate(order.split(options.batch_size)[:per_epoch]):
            lr = options.rate(epoch, (epoch * per_epoch + n) / total) * method.rate
            for group in optimizer.param_groups:
                group["lr"] = lr
            x, targets = to_codes(frames[index.numpy()], data.input.constant), targets_of(index)
            if augmentation != AugmentationOptions():
                assert isinstance(targets, Targets)
                draws = torch.Generator().manual_seed(seed_of(seed, "augmentation", epoch, n))
                x, targets = augment(x, targets.labels, augmentation, draws)
            if device != "cpu":
                x, targets = x.to(device, non_blocking=True), targets.to(device)
            with winograd.used(options.convolutions == "winograd") as taken:
                own = method.loss(model, x, targets)
                if own is None:
                    with torch.autocast(x.device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
                        logits, spikes, outputs = model(x)
            if options.convolutions == "winograd" and (epoch, n) == (start, 0):
                why = "" if taken else ": none has what they take, which config/README.md says"
                say(f"Winograd's kernels compute {len(taken)} of the network's convolutions{why}")
            if own is None:
                logits, outputs = logits.float(), outputs.float()
                read = logits / model.steps if options.mean_logits else logits
                loss = targets.loss(read, options.loss, outputs, model.surrogate.decay, options.tet_share)
            else:
                loss, logits, spikes = own
            penalty = method.penalty()
            optimizer.zero_grad(set_to_none=True)
            (loss if penalty is None else loss + penalty).backward()
            if options.clip_gradient is not None:
                torch.nn.utils.clip_grad_value_(model.parameters(), options.clip_gradient)
            optimizer.step()
            method.after_step()
            task_loss = loss.item()
            loss_sum += task_loss * len(index)
            whole_loss += task_loss if penalty is None else task_loss + penalty.item()
            right += targets.right(logits.detach())
            rate += sum(float(s.detach().flatten(0, 1).mean()) for s in spikes) / max(len(spikes), 1)
        if not math.isfinite(loss_sum):
            raise FloatingPointError(f"{label}: the loss is not finite in epoch {epoch + 1}; lower learning_rate "
                                     f"(now {options.learning_rate})")
        history.append({"epoch": epoch + 1, "loss": loss_sum / seen,
                        "train_accuracy": right / seen if model.head is None else None,
                        "validation_accuracy": accuracy(model, data, "validation"), "firing_rate": rate / per_epoch,
                        "learning_rate": lr, **method.after_epoch(whole_loss)})
        bar.set_postfix(loss=f"{history[-1]['loss']:.3f}", val=f"{history[-1]['validation_accuracy']:.4f}")
        if checkpoint is not None and time.monotonic() - saved >= CHECKPOINT_EVERY:
            _save(checkpoint, epoch + 1, model, optimizer, history, job, method)
            saved = time.monotonic()
    model.cpu()
    return history
