"""Which bits a trained network needs: post-training candidates by the integer model, a Pareto front, and one of it chosen.

The framework of Q-SpiNN (Putra and Shafique, IJCNN 2021) as far as it is known; what is our reconstruction says so in
docs/qspinn.md. A candidate is what each parameter of the network is rounded to. It is evaluated as the integer network that would
be exported, on validation images; the test part is looked at once, for the front.
"""
from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from .options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self, TypeAlias

    import optuna

    from .annotations import Array, Entry, Json
    from .datasets.base import PreparedData
    from .models import CodeNetwork
    from .network import NetworkSpec
    from .quantizers.base import Quantizer
    from .training import Network

    #: Told a row, or nobody is.
    Seen: TypeAlias = Callable[[Entry], object] | None

__all__ = ["Candidate", "Explorer", "ExplorationOptions", "PARAMETERS", "explore", "pareto_front", "shard"]

#: Parameters by their share of the memory of most networks, the largest first: the order in which precision is lowered.
PARAMETERS = ("weights", "membranes", "currents", "thresholds", "leaks")
#: Below a bound by so little is at it: means of several networks are rounded.
TOLERANCE = 1e-9


class ExplorationOptions(Options):
    """A search space and what is wanted of its best network.

    ``quantizer`` is an entry whose ``bits``, ``rounding``, ``membrane``, ``thresholds`` and ``leak`` the candidates fill in.
    ``weights``, ``membranes``, ``currents`` (of synapses that have a time constant), ``thresholds``, ``leaks`` list bits (null: as
    the quantizer entry has it), ``roundings`` the schemes of all of them, ``lanes`` the widths of the core.

    ``strategy``: every combination (``grid``); parameter by parameter, in the order of their significance, each as low as
    ``most_loss`` allows (``ordered``); or ``trials`` of Optuna's genetic multi-objective search (``optuna``, NSGA-II).

    Of the candidates within ``most_loss`` points of full precision and ``most_kbit``, the one of the largest benefit is chosen, R =
    accuracy - ``mu`` times normalised memory, both as shares: at mu = 0.1, a tenth of the memory is worth a point.
    """
    quantizer: dict[Any, Any] = Field({"kind": "fixed_point"}, validate_default=True)
    weights: list[int | None] = Field([4, 6, 8, 16], min_length=1)
    membranes: list[int | None] = Field([4, 6, 8, 16], min_length=1)
    currents: list[int | None] = Field([None], min_length=1)
    thresholds: list[int | None] = Field([None], min_length=1)
    leaks: list[int | None] = Field([None], min_length=1)
    roundings: list[Literal["floor", "half_up", "stochastic"]] = Field(["floor", "half_up", "stochastic"], min_length=1)
    lanes: list[Annotated[int, Field(ge=1, le=256)]] = Field([4, 16], min_length=1)
    strategy: Literal["grid", "ordered", "optuna"] = "grid"
    trials: int = Field(100, ge=1)
    seed: int = Field(0, ge=0)
    images: int = Field(1000, ge=1)
    mu: float = Field(0.1, ge=0, lt=1)
    most_loss: float | None = Field(None, ge=0)
    most_kbit: float | None = Field(None, gt=0)

    @field_validator("quantizer", mode="before")
    @classmethod
    def _entry(cls, value: Json) -> Json:
        if isinstance(value, str):
            raise ValueError(f"must be a whole entry, such as {{kind: fixed_point}}, not the name {value!r}")
        return value

    @field_validator("quantizer")
    @classmethod
    def _valid(cls, value: Entry) -> Entry:
        from .entries import parse_entry
        return parse_entry("quantizers", value, "quantizer").model_dump()

    @field_validator(*PARAMETERS, "roundings", "lanes")
    @classmethod
    def _different(cls, value: list[Any]) -> list[Any]:
        if len(set(value)) < len(value):
            raise ValueError(f"must be different values, not {value}")
        return value

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        if self.strategy == "ordered" and self.most_loss is None:
            raise ValueError("most_loss must be given for the strategy ordered: it says how low precision may go")
        for name in PARAMETERS:
            for bits in getattr(self, name):
                try:
                    self.entry(replace(Candidate(**dict.fromkeys(PARAMETERS), rounding=self.roundings[0]), **{name: bits}))
                except ValueError as error:
                    raise ValueError(f"{name}: {bits} of {self.quantizer['kind']}: {error}") from None
        return self

    def entry(self, candidate: Candidate) -> Entry:
        """The quantizer entry (plain data) of a candidate.

        Raises
        ------
        ValueError
            If the quantizer cannot have it.
        """
        from .entries import parse_entry
        entry = {**self.quantizer, "training": {**self.quantizer["training"], "epochs": 0}}
        if candidate.weights is not None:
            if "bits" not in entry:
                raise ValueError("weights must be [null], for its levels are given")
            entry["bits"] = candidate.weights
        if "rounding" in entry:
            entry["rounding"] = candidate.rounding
        membrane = {**entry["membrane"], "rounding": candidate.rounding}
        if candidate.membranes is not None:
            membrane |= {"bits": candidate.membranes, "levels": None, "unit": "half_threshold", "gradient": "clip",
                         "temperature": 2.0}
        if candidate.currents is not None:
            membrane["current_bits"] = candidate.currents
        entry["membrane"] = membrane
        if candidate.thresholds is not None:
            entry["thresholds"] = {"bits": candidate.thresholds, "rounding": candidate.rounding}
        if candidate.leaks is not None:
            leak = "half_up" if candidate.rounding == "stochastic" else candidate.rounding     # there is one factor to round
            entry["leak"] = {"bits": candidate.leaks, "rounding": leak}
        return parse_entry("quantizers", entry, "quantizer").model_dump()

    @property
    def candidates(self) -> list[Candidate]:
        """Every Candidate of the space, those of equal weights next to each other."""
        return [Candidate(w, v, i, theta, leak, rounding) for rounding in self.roundings for w in self.weights
                for theta in self.thresholds for leak in self.leaks for i in self.currents for v in self.membranes]

    @property
    def of_rows(self) -> Entry:
        """What rows of a grid depend on, plain data: neither bounds nor the weight of memory, nor what the front alone is asked."""
        return self.model_dump(mode="json", exclude={"lanes", "mu", "most_loss", "most_kbit"} if self.strategy == "grid" else set())

    def finest(self, name: str) -> int | None:
        """The most bits of a parameter; null, which leaves it to the quantizer, counts as more than any number."""
        return max(getattr(self, name), key=lambda bits: math.inf if bits is None else bits)


@dataclass(frozen=True)
class Candidate:
    """Bits of each parameter (None: as the quantizer entry has it), and how they are rounded."""
    weights: int | None
    membranes: int | None
    currents: int | None
    thresholds: int | None
    leaks: int | None
    rounding: str

    def __str__(self) -> str:
        bits = ", ".join(f"{name} {getattr(self, name)}" for name in PARAMETERS if getattr(self, name) is not None)
        return f"{bits}, {self.rounding}"


#: Columns that say what a candidate is.
COLUMNS = tuple(of.name for of in fields(Candidate))


def shard(candidates: Iterable[Candidate], part: int, parts: int) -> list[Candidate]:
    """Every ``parts``-th run of candidates of equal weights, from ``part`` (0, 1, ...): what one job of a grid evaluates."""
    runs: dict[tuple[int | None, str], list[Candidate]] = {}
    for candidate in candidates:
        runs.setdefault((candidate.weights, candidate.rounding), []).append(candidate)
    return [candidate for run in list(runs.values())[part::parts] for candidate in run]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (memory, accuracy) that no other beats in one and equals in the other, by memory."""
    front: list[int] = []
    best = -math.inf
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[i][1] > best:
            front.append(i)
            best = points[i][1]
    return front


class Explorer:
    """Candidates of one trained network.

    Parameters
    ----------
    model : FloatNetwork or CodeNetwork, trained
    data : PreparedData with labels
    options : ExplorationOptions

    Members
    -------
    accuracy_float : float, accuracy of ``model`` on the validation images that candidates are tried on
    float_bits : int, memory of the network with 32 bits for every parameter
    """
    def __init__(self, model: Network, data: PreparedData, options: ExplorationOptions) -> None:
        from .metrics import float_bits_of
        from .training import accuracy, taking
        if data.boxes is not None:
            raise ValueError("exploration compares shares of right classes, and these data have boxes")
        self.model, self.data, self.options = model.eval(), data, options
        self.kept = taking(data, "validation", options.images)
        self.accuracy_float = accuracy(model, self.kept, "validation")
        self.float_bits = float_bits_of(model)["total"]
        self._sums: dict[tuple[str, int], dict[Any, Any]] = {}
        self._currents = {shape.name for shape in model.shapes if shape.emits == "currents"}

    def network(self, candidate: Candidate) -> NetworkSpec:
        """NetworkSpec of a candidate."""
        from .convert import to_spec
        from .entries import make
        return to_spec(_requantized(self.model, make("quantizers", self.options.entry(candidate))))

    def evaluate(self, candidate: Candidate) -> Entry:
        """What a candidate reaches: a row (dict) with its bits, accuracy on validation images, and memory."""
        net = self.network(candidate)
        right = self._right(net, "validation", self.kept.frames["validation"], self.kept.labels["validation"], self._sums)
        bits = net.memory_bits()
        currents = sum(layer.memory_bits()["membranes"] for layer in net.layers if layer.name in self._currents)
        return {**asdict(candidate), "accuracy": right / len(self.kept.labels["validation"]), "memory_bits": bits["total"],
                "weights_bits": bits["weights"], "membranes_bits": bits["membranes"] - currents, "currents_bits": currents,
                "thresholds_bits": bits["thresholds"], "memory_share": bits["total"] / self.float_bits}

    def _right(self, net: NetworkSpec, part: str, frames: Array, labels: Array,
               sums: dict[tuple[str, int], dict[Any, Any]] | None) -> int:
        from . import integer
        from .convert import batch_size
        right, batch = 0, batch_size(self.model, 256)
        for at in range(0, len(labels), batch):
            trace = integer.run(net, frames[at:at + batch], None if sums is None else sums.setdefault((part, at), {}))
            right += int((trace.winner == labels[at:at + batch]).sum())
        return right

    def test(self, candidate: Candidate) -> float:
        """Accuracy of a candidate on the whole test part."""
        labels = self.data.labels["test"]
        return self._right(self.network(candidate), "test", self.data.frames["test"], labels, None) / len(labels)

    def hardware(self, candidate: Candidate) -> list[Entry]:
        """Rows (dicts), one for each width of the core: lanes, cycles of an image to the cycle, estimated LUT4 and block RAMs."""
        from spikeproof_hdl.plan import CorePlan
        from spikeproof_hdl.size import estimate_brams, estimate_luts
        from spikeproof_hdl.timing import predict
        rows: list[Entry] = []
        net = self.network(candidate)
        for lanes in self.options.lanes:
            plan = CorePlan.of(net, lanes)
            timing = predict(plan, np.asarray(self.kept.frames["validation"][:1]))
            rows.append({"lanes": lanes, "cycles": timing.cycles, "lut_estimate": estimate_luts(plan),
                         "bram_estimate": estimate_brams(plan)})
        return rows

    def search(self, part: int = 0, parts: int = 1, seen: Seen = None, known: Iterable[Entry] = ()) -> list[Entry]:
        """Rows of the candidates that the strategy tries; of a grid, those of one part.

        Parameters
        ----------
        seen : function of each row as it is found, or None
        known : rows that an earlier search has found, which are not evaluated again
        """
        rows: dict[Candidate, Entry] = {}
        before = {Candidate(*(row[key] for key in COLUMNS)): row for row in known}

        def tried(candidate: Candidate) -> Entry:
            if candidate not in rows:
                rows[candidate] = before[candidate] if candidate in before else self.evaluate(candidate)
                if seen is not None:
                    seen(rows[candidate])
            return rows[candidate]
        if self.options.strategy == "grid":
            for candidate in shard(self.options.candidates, part, parts):
                tried(candidate)
        elif self.options.strategy == "ordered":
            self._ordered(tried)
        else:
            self._optuna(tried)
        return list(rows.values())

    def _ordered(self, tried: Callable[[Candidate], Entry]) -> None:
        """Parameter by parameter from the most precise candidate on, for each rounding; the order is that of their memory."""
        assert self.options.most_loss is not None
        for rounding in self.options.roundings:
            best = Candidate(**{name: self.options.finest(name) for name in PARAMETERS}, rounding=rounding)
            first = tried(best)
            order = sorted(PARAMETERS, key=lambda name: -first.get(f"{name}_bits", 0))
            for name in order:
                choices = sorted((bits for bits in getattr(self.options, name) if bits is not None), reverse=True)
                for bits in choices:
                    lower = replace(best, **{name: bits})
                    if not within(tried(lower), self.accuracy_float, self.options.most_loss):
                        break
                    best = lower

    def _optuna(self, tried: Callable[[Candidate], Entry]) -> None:
        try:
            import optuna
        except ImportError:
            raise ValueError("strategy optuna needs the package optuna: pip install optuna") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)

        def objective(trial: optuna.Trial) -> tuple[float, int]:
            values = {name: trial.suggest_categorical(name, getattr(self.options, name)) for name in PARAMETERS}
            row = tried(Candidate(**values, rounding=trial.suggest_categorical("rounding", self.options.roundings)))
            return row["accuracy"], row["memory_bits"]
        sampler = optuna.samplers.NSGAIISampler(seed=self.options.seed)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        study.optimize(objective, n_trials=self.options.trials)


def _requantized(model: Network, quantizer: Quantizer) -> CodeNetwork:
    """A trained network under another quantizer, not trained on -> CodeNetwork."""
    from .models import CodeNetwork, FloatNetwork
    if isinstance(model, FloatNetwork):
        return CodeNetwork.from_float(model, quantizer).eval()
    return model.under(quantizer).eval()


def _merged(rows_of: Sequence[Sequence[Entry]]) -> list[Entry]:
    """Rows of several models -> one for each candidate: means, and ``accuracy_sd``, None of one model."""
    found = []
    for rows in zip(*rows_of, strict=True):
        numbers = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key not in COLUMNS}
        spread = _spread([row["accuracy"] for row in rows])
        found.append({**{key: rows[0][key] for key in COLUMNS}, **numbers, "accuracy_sd": spread})
    return found


def _spread(values: Sequence[float]) -> float | None:
    """Standard deviation, or None of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def within(row: Entry, accuracy_float: float, points: float) -> bool:
    """Whether a row's accuracy is at most so many points below full precision."""
    return row["accuracy"] >= accuracy_float - points / 100 - TOLERANCE


def chosen(rows: Iterable[Entry], accuracy_float: float, options: ExplorationOptions) -> Entry | None:
    """Of rows, the one of the largest benefit within the bounds of ExplorationOptions, or None."""
    good = [row for row in rows if (options.most_loss is None or within(row, accuracy_float, options.most_loss))
            and (options.most_kbit is None or row["memory_bits"] <= 1000 * options.most_kbit)]
    return max(good, key=lambda row: (row["benefit"], -row["memory_bits"]), default=None)


def explore(models: Sequence[Network], data: PreparedData, options: ExplorationOptions, found: list[list[Entry]] | None = None,
            seen: Seen = None, watch: Callable[[list[Entry]], Iterable[Entry]] = iter, known: Iterable[Entry] = ()) -> Entry:
    """Search, and look closer at the front.

    Parameters
    ----------
    models : list of trained networks that differ in their seed; more than one for the strategy grid alone
    data : PreparedData
    options : ExplorationOptions
    found : rows of each model where they were made elsewhere, as a list of lists; or None to search now
    seen : function of each row as it is found, or None
    watch : function of the list of the front's rows that gives them one by one, as a progress bar does
    known : rows of a single model that an earlier search has found

    Returns
    -------
    dict: ``candidates``, rows in the order they were tried; ``front``, those that no other beats in accuracy and memory, with
    ``test_accuracy`` (mean), ``test_accuracy_sd`` and ``hardware``; ``chosen``, the place in the front of the one of the largest
    benefit within the bounds, or None; ``accuracy_float`` and ``test_accuracy_float`` in full precision; ``float_bits``

    Raises
    ------
    ValueError
        If the search and the models do not fit each other, or a quantizer cannot have the network.
    """
    from .training import accuracy
    if len(models) > 1 and options.strategy != "grid":
        raise ValueError(f"strategy {options.strategy} searches for one network, not for {len(models)}: use grid, or one seed")
    explorers = [Explorer(model, data, options) for model in models]
    rows = _merged(found or [explorer.search(seen=seen, known=known) for explorer in explorers])
    for row in rows:
        row["benefit"] = row["accuracy"] - options.mu * row["memory_share"]
    reached = float(np.mean([explorer.accuracy_float for explorer in explorers]))
    front = []
    for row in watch([rows[i] for i in pareto_front([(row["memory_bits"], row["accuracy"]) for row in rows])]):
        candidate = Candidate(*(row[key] for key in COLUMNS))
        tested = [explorer.test(candidate) for explorer in explorers]
        front.append({**row, "test_accuracy": float(np.mean(tested)), "test_accuracy_sd": _spread(tested),
                      "hardware": explorers[0].hardware(candidate)})
    best = chosen(front, reached, options)
    return {"candidates": rows, "front": front, "chosen": None if best is None else front.index(best), "accuracy_float": reached,
            "test_accuracy_float": float(np.mean([accuracy(model, data, "test") for model in models])),
            "float_bits": explorers[0].float_bits, "images": len(explorers[0].kept.labels["validation"]), "networks": len(models)}
