"""What the papers claim, and what we found: ``config/claims.yaml`` against the results of a study.

A claim has the paper's value and a measure of ours: a quantity of an analysis, a column of the runs' table (mean over seeds), the
difference or ratio of two runs (paired by seed), or an order of runs. The verdict is computed, never written down:

* *reproduced*: ours is within the tolerance of an ``about``, on the right side of an ``at_least`` or ``at_most`` (less the
  tolerance), equal to what ``holds``, or a ``gain`` above the value that is clear of zero;
* *partly*: it is not, but has the claim's sign and between half and twice its size, and is clear of zero: over several seeds, more
  than two standard errors from it;
* *not reproduced*: else;
* *not attempted*: no study here measures it, or what its study measures is not there; the claim says why.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from .entries import ConfigError, read_yaml, validate
from .options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    import pandas as pd

    from .annotations import Entry, StrPath

__all__ = ["Claim", "Measure", "Outcome", "judge", "load_claims", "measured", "table"]

COLUMNS = ["claim", "paper", "where", "says", "value", "derived", "ours", "mean", "sd", "seeds", "scaled_down", "verdict",
           "controls", "note", "needs"]
VERDICTS = ("reproduced", "partly", "not reproduced", "not attempted")
#: Columns of the runs' table that are shares, and are told in percent.
SHARES = ("accuracy", "accuracy_float", "firing_rate")


class Measure(Options):
    """Where our value comes from: ``analysis`` and ``quantity``; ``run``, or ``run`` ``minus`` or ``over`` another, in column
    ``of``; or ``order``, runs whose means fall from left to right."""
    analysis: str | None = None
    quantity: str | None = None
    run: str | None = None
    minus: str | None = None
    over: str | None = None
    order: list[str] | None = Field(None, min_length=2)
    of: str = "accuracy"

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.analysis is not None and self.quantity is not None and self.run is None and self.order is None,
                 self.run is not None and self.analysis is None and self.order is None,
                 self.order is not None and self.analysis is None and self.run is None]
        other = [name for name in (self.minus, self.over) if name is not None]
        if sum(kinds) != 1 or (self.analysis is None) != (self.quantity is None) or len(other) > (self.run is not None):
            raise ValueError("measure must name an analysis and a quantity, a run (minus or over another), or an order of runs")
        return self

    @property
    def runs(self) -> list[str]:
        """Names of the runs that it looks at."""
        return self.order or [name for name in (self.run, self.minus, self.over) if name]


class Control(Options):
    """What the claim should be seen beside, in the claim's unit if it has none of its own."""
    says: str
    measure: Measure
    unit: str | None = None


class Claim(Options):
    """One published claim."""
    paper: str
    where: str
    says: str
    value: float | bool | None = None
    unit: str = ""
    derived: bool = False
    compare: Literal["about", "at_least", "at_most", "gain", "holds"] = "about"
    tolerance: float = Field(0.0, ge=0)
    study: str
    needs: str
    measure: Measure | None = None
    controls: list[Control] = []
    not_attempted: str | None = None
    note: str = ""

    @model_validator(mode="after")
    def _measured_or_not(self) -> Self:
        if self.measure is None and self.not_attempted is None:
            raise ValueError("a claim must have a measure, or say why it is not attempted")
        if self.measure is not None and self.value is None:
            raise ValueError("value is missing beside the measure")
        if (self.compare == "holds") != isinstance(self.value, bool) and self.value is not None:
            raise ValueError("value must be true or false with compare: holds, and a number otherwise")
        if self.measure is not None and self.measure.analysis is None \
                and (self.compare == "holds") != (self.measure.order is not None):
            raise ValueError("compare must be holds for an order of runs, and for nothing else that is measured on runs")
        if self.compare == "gain" and self.measure is not None and self.measure.over is not None:
            raise ValueError("compare must not be gain for a ratio, which is not judged against zero")
        return self


@dataclass(frozen=True)
class Outcome:
    """Our value: its mean, its standard deviation over seeds (None for one), how many seeds (None for an analysis)."""
    mean: float | bool
    sd: float | None = None
    seeds: int | None = None

    def text(self, unit: str = "") -> str:
        """As the report prints it."""
        if isinstance(self.mean, bool):
            return "yes" if self.mean else "no"
        digits = 3 if abs(self.mean) < 1 else 2
        text = f"{self.mean:.{digits}f}" + (f" ± {self.sd:.{digits}f}" if self.sd is not None else "")
        return text + (f" {unit}" if unit else "") + (f" (n = {self.seeds})" if self.seeds else "")


def load_claims(path: StrPath) -> dict[str, Claim]:
    """YAML file -> dict name -> Claim.

    Raises
    ------
    ConfigError
        If it is no YAML, or a claim has an unknown key, lacks one, or has a value of the wrong type.
    """
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must be a mapping of names to claims, not {raw!r}")
    return {name: validate(Claim, value, f"{path}: {name}") for name, value in raw.items()}


def _column(results: pd.DataFrame, run: str, of: str) -> pd.Series:
    """Values of a run by seed, in percent where they are shares."""
    if of not in results:
        raise ValueError(f"the study's table must have the column {of!r}, and has {', '.join(results)}")
    rows = results[results.run == run].set_index("seed")[of].dropna().astype(float)
    if rows.empty:
        raise ValueError(f"run {run!r} must have {of} in the study's table, and has none")
    return rows * (100 if of in SHARES else 1)


def measured(measure: Measure, results: pd.DataFrame, analyses: Mapping[str, Entry]) -> Outcome:
    """Our value of a measure -> Outcome.

    Parameters
    ----------
    results : DataFrame of :func:`spikeproof.report.summary`
    analyses : dict name -> result

    Raises
    ------
    ValueError
        If a run, a column or a quantity is not there.
    """
    if measure.analysis is not None:
        quantities = analyses.get(measure.analysis, {}).get("quantities", {})
        if quantities.get(measure.quantity) is None:
            raise ValueError(f"analysis {measure.analysis!r} must have the quantity {measure.quantity!r}, and has "
                             f"{', '.join(quantities) or 'none'}")
        return Outcome(quantities[measure.quantity])
    if measure.order is not None:
        means = [_column(results, run, measure.of).mean() for run in measure.order]
        return Outcome(all(a > b for a, b in zip(means, means[1:])))
    assert measure.run is not None
    values = _column(results, measure.run, measure.of)
    other = measure.minus or measure.over
    if other is not None:
        beside = _column(results, other, measure.of)
        values = (values - beside if measure.minus else values / beside[beside != 0]).dropna()
        if values.empty:
            raise ValueError(f"runs {measure.run!r} and {other!r} must have a seed in common")
    return Outcome(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None, len(values))


def judge(claim: Claim, outcome: Outcome | None) -> str:
    """Verdict on a claim: one of VERDICTS."""
    if outcome is None:
        return "not attempted"
    if claim.compare == "holds":
        return "reproduced" if outcome.mean == claim.value else "not reproduced"
    ours, value = outcome.mean, claim.value
    assert value is not None
    clear = outcome.sd is None or outcome.seeds is None or abs(ours) > 2 * outcome.sd / math.sqrt(outcome.seeds)
    good = {"about": abs(ours - value) <= claim.tolerance, "at_least": ours >= value - claim.tolerance,
            "at_most": ours <= value + claim.tolerance,
            "gain": clear and outcome.seeds != 1 and ours > max(value - claim.tolerance, 0)}[claim.compare]
    if good:
        return "reproduced"
    ratio = ours / value if ours * value > 0 else 0
    return "partly" if 0.5 <= ratio <= 2 and clear else "not reproduced"


def table(claims: Mapping[str, Claim], study: str, scaled_down: bool, results: pd.DataFrame, analyses: Mapping[str, Entry],
          skipped: str | None = None) -> pd.DataFrame:
    """The claims of a study with our values and verdicts -> DataFrame; ``ours`` and ``controls`` are text.

    Parameters
    ----------
    claims : dict name -> Claim
    study : str; claims of other studies are left out
    scaled_down : bool
    results, analyses : as in :func:`measured`
    skipped : why nothing was measured, or None where it was
    """
    import pandas as pd  # not at every start of the workflow
    rows = []
    for name, claim in claims.items():
        if claim.study != study:
            continue
        outcome: Outcome | None = None
        controls: list[str] = []
        why = claim.not_attempted if claim.measure is None else None
        if claim.measure is not None and skipped is not None:
            why = skipped
        elif claim.measure is not None:
            try:
                outcome = measured(claim.measure, results, analyses)
                controls = [f"{c.says}: {measured(c.measure, results, analyses).text(claim.unit if c.unit is None else c.unit)}"
                            for c in claim.controls]
            except ValueError as error:                              # a study that was cut down
                outcome, why = None, claim.not_attempted or str(error)
        value = "" if claim.value is None else Outcome(claim.value).text(claim.unit) if isinstance(claim.value, bool) \
            else f"{claim.value:g}" + (f" {claim.unit}" if claim.unit else "")
        on_runs = claim.measure is not None and claim.measure.analysis is None
        rows.append({"claim": name, "paper": claim.paper, "where": claim.where, "says": claim.says,
                     "value": value, "derived": claim.derived, "ours": "" if outcome is None else outcome.text(claim.unit),
                     "mean": None if outcome is None else float(outcome.mean), "sd": outcome and outcome.sd,
                     "seeds": outcome and outcome.seeds, "scaled_down": bool(scaled_down and on_runs),
                     "verdict": judge(claim, outcome), "controls": "; ".join(controls),
                     "note": f"{why[0].upper()}{why[1:]}. {claim.note}".strip() if why else claim.note, "needs": claim.needs})
    return pd.DataFrame(rows, columns=COLUMNS)
