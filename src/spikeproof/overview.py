"""All claims with their verdicts over all studies, and our cores beside published ones."""
from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup, escape
from pydantic import Field

from . import plots
from .claims import COLUMNS, VERDICTS, table
from .entries import ConfigError, read_yaml, validate
from .files import read_result
from .options import Options
from .pages import Figures, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from .annotations import Entry, StrPath
    from .claims import Claim

__all__ = ["Places", "PublishedCore", "Tables", "claims_table", "cores_table", "load_cores", "markdown", "page"]

#: Studies whose cores stand beside published ones, and what they are of.
COMPARED = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}
HEADINGS = {"core": "core", "task": "task", "network": "network", "device": "device", "mhz": "MHz", "accuracy": "accuracy, %",
            "cycles": "cycles an image", "latency_us": "latency, µs", "lut": "LUT", "bram": "block RAM", "proven": "values proven",
            "note": "what differs", "source": "source"}

CLAIMS_TEXT = """\
# What the papers claim, and what we found

Written by `python -m spikeproof overview --reference-only --markdown docs/claims.md`, from the references in `results/reference/`.
Our values are means ± one standard deviation over n seeds. Verdicts are computed from measurements by the rules of
`config/claims.yaml`: *reproduced* is within the claim's tolerance or on its side (of a loss that is at most so large, a smaller one
too); *partly* has its sign, half to twice its size, and is more than two standard errors from zero. What needs a GPU for days is
*not attempted*. `snakemake --cores all overview` makes the same as a page, with the studies that were run here; each study's own
report has what stands beside a claim.
"""
CORES_TEXT = """\
Figures of others are their authors', for other devices and tools, mostly from abstracts; an empty cell was not found. A LUT of
Xilinx 7 has six inputs, one of ECP5 four. Ours are the core alone, clocked as placed and routed where nothing else is said, and no
power was measured: nothing here ran on a board. *Cycles an image* are those from one class to the next while images follow each
other, over all images that were simulated; *latency* is that of one image alone, from its first word to its class, over the first
twenty: the two differ by what overlaps and by which images they are of. Of published cores one of them follows from the other,
where both are given. *Values proven* are the spikes and membranes that were compared with the generated Verilog.
"""


class PublishedCore(Options):
    """A core as its authors describe it; what is absent was not found.

    ``accuracy`` in percent, ``latency_us`` of one image, ``bram`` in the device's blocks.
    """
    core: str
    task: str
    source: str
    network: str = ""
    device: str = ""
    note: str = ""
    mhz: float | None = Field(None, gt=0)
    accuracy: float | None = Field(None, ge=0, le=100)
    cycles: float | None = Field(None, gt=0)
    latency_us: float | None = Field(None, gt=0)
    lut: float | None = Field(None, ge=0)
    bram: float | None = Field(None, ge=0)


@dataclass(frozen=True)
class Tables:
    """What the overview shows: DataFrames of :func:`claims_table` and :func:`cores_table`."""
    claims: pd.DataFrame
    cores: pd.DataFrame


def load_cores(path: StrPath) -> list[PublishedCore]:
    """Published cores of a file.

    Raises
    ------
    ConfigError
        If it is no list of cores; the sentence names the entry.
    """
    raw = read_yaml(path)
    if not isinstance(raw, list):
        raise ConfigError(f"{path} must be a list of cores")
    return [validate(PublishedCore, entry, f"{path}[{n}]") for n, entry in enumerate(raw, 1)]


@dataclass(frozen=True)
class Places:
    """Where results lie: those that were run here (``results``, or None to leave them out), and the committed references."""
    references: Path
    results: Path | None = None

    def of(self, study: str, name: str) -> list[tuple[Path, str]]:
        """Files of a study that are there, with where they come from: this run's first."""
        found = [(self.references / study / name, "reference")]
        if self.results is not None:
            found.insert(0, (self.results / study / name, "run here"))
        return [(path, origin) for path, origin in found if path.is_file()]


def claims_table(claims: Mapping[str, Claim], places: Places) -> pd.DataFrame:
    """Every claim with its verdict: of the study's run here, else of the committed reference, else *not attempted*.

    Parameters
    ----------
    claims : dict name -> Claim
    places : Places

    Returns
    -------
    DataFrame as :func:`spikeproof.claims.table`, and study and from ("run here", "reference" or "")
    """
    import pandas as pd
    rows: list[Entry] = []

    @cache
    def judged(study: str) -> list[dict[str, Entry]]:
        """What the study's files say of each claim, this run's first."""
        return [{row["claim"]: {**row, "from": origin} for row in pd.read_csv(path).astype(object).to_dict("records")}
                for path, origin in places.of(study, "claims.csv")]
    for name, claim in claims.items():
        row: Entry = {}
        for found in judged(claim.study):
            if name in found and (not row or row["verdict"] == "not attempted"):
                row = found[name]
        if not row:
            why = claim.not_attempted or f"study {claim.study} was not run"
            row = {**table({name: claim}, claim.study, False, pd.DataFrame(), {}, skipped=why).iloc[0].to_dict(), "from": ""}
        rows.append({**row, "study": claim.study})
    return pd.DataFrame(rows, columns=[*COLUMNS, "study", "from"])


def _own_rows(places: Places) -> list[Entry]:
    """Rows of our own cores: the one made to be compared, and those of studies of the same tasks."""
    import pandas as pd
    rows: list[Entry] = []
    path = places.references / "core" / "peers_mnist.json"
    if path.is_file():
        ours = read_result(path)["ours"]
        shared = {"task": "MNIST", "network": f"784-128-10, {ours['quantizer']['bits']}-bit weights, {ours['steps']} steps",
                  "accuracy": ours["accuracy"], "cycles": ours["cycles"], "proven": ours["values_proved"],
                  "source": "results/reference/core/peers_mnist.json"}
        rows += [{**shared, "core": "spikeproof", "device": "ECP5 25F", "mhz": ours["fmax_mhz"],
                  "latency_us": ours["latency_cycles"] / ours["fmax_mhz"], "lut": ours["lut_ecp5"], "bram": ours["bram_ecp5"],
                  "note": "pixels of one bit; placed and routed"},
                 {**shared, "core": "spikeproof", "device": "Xilinx 7", "mhz": 100, "latency_us": ours["latency_cycles"] / 100,
                  "lut": ours["lut_xilinx"], "bram": ours["bram_xilinx_18k"] / 2,
                  "note": "pixels of one bit; yosys, not placed, 100 MHz assumed"}]
    for study, task in COMPARED.items():
        for path, origin in places.of(study, "summary.csv")[:1]:
            runs = pd.read_csv(path)
            for name, of in runs[runs.cycles_per_image.notna()].groupby("run", sort=False):
                mean = of[["accuracy", "cycles_per_image", "latency_us", "lut", "bram", "fmax_mhz"]].mean()
                rows.append({"core": "spikeproof", "task": task, "network": f"{name} ({of.quantizer.iloc[0]})", "device": "ECP5",
                             "mhz": mean.fmax_mhz, "accuracy": 100 * mean.accuracy, "cycles": mean.cycles_per_image,
                             "latency_us": mean.latency_us, "lut": mean.lut, "bram": mean.bram,
                             "proven": of.values_compared.sum(),
                             "note": f"mean of {len(of)} seeds" if len(of) > 1 else "",
                             "source": f"study {study}, {origin}"})
    return rows


def cores_table(published: list[PublishedCore], places: Places) -> pd.DataFrame:
    """Published cores and ours -> DataFrame, columns as in HEADINGS, by task.

    ``proven`` is how many values were compared with the Verilog.
    """
    import pandas as pd
    rows = [*_own_rows(places), *(core.model_dump() for core in published)]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    rows.sort(key=lambda row: tasks.index(row["task"]))
    return pd.DataFrame(rows, columns=list(HEADINGS))


def _number(value: float, digits: int = 0) -> str:
    return "" if value is None or value != value else f"{value:,.{digits}f}"


def shown_cores(cores: pd.DataFrame) -> list[list[str]]:
    """The table's rows as text, in the order of HEADINGS."""
    digits = {"mhz": 0, "accuracy": 2, "cycles": 0, "latency_us": 1, "lut": 0, "bram": 1, "proven": 0}
    return [[_number(row[name], digits[name]).removesuffix(".0") if name in digits else
             "" if row[name] != row[name] else str(row[name]) for name in HEADINGS] for row in cores.to_dict("records")]


def markdown(tables: Tables) -> str:
    """The overview as a page of the documentation."""
    lines = [*CLAIMS_TEXT.splitlines(), ""]
    counts = tables.claims.groupby("paper", sort=False).verdict.value_counts().unstack(fill_value=0)
    lines += [f"| paper | {' | '.join(VERDICTS)} |", "|---" * (len(VERDICTS) + 1) + "|"]
    lines += [f"| {paper} | {' | '.join(str(row.get(verdict, 0)) for verdict in VERDICTS)} |" for paper, row in counts.iterrows()]
    for paper, of in tables.claims.groupby("paper", sort=False):
        lines += ["", f"## {paper}", "", "| claim | where | paper | ours | verdict | study |", "|---|---|---|---|---|---|"]
        for row in of.astype(object).fillna("").to_dict("records"):
            ours = f"{row['ours']}{', scaled down' if row['scaled_down'] is True else ''}"
            cells = [row["says"], row["where"], f"{row['value']}{' (derived)' if row['derived'] is True else ''}", ours,
                     row["verdict"], row["study"]]
            lines.append(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |")
    lines += ["", "## Published cores and ours", "", *CORES_TEXT.splitlines(), "",
              f"| {' | '.join(HEADINGS.values())} |", "|---" * len(HEADINGS) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in shown_cores(tables.cores)]
    return "\n".join(lines) + "\n"


def page(tables: Tables) -> tuple[str, list[Entry]]:
    """The overview as one self-contained HTML page -> (text, figures for :func:`spikeproof.pages.save_figures`)."""
    claims = tables.claims.astype(object).fillna("").to_dict("records")
    counts = {paper: {verdict: int((of.verdict == verdict).sum()) for verdict in VERDICTS}
              for paper, of in tables.claims.groupby("paper", sort=False)}
    known = tables.cores[tables.cores.accuracy.notna() & tables.cores.latency_us.notna()]
    figures = Figures()
    figures.add("Verdicts", "By paper, all studies.", plots.bars([(paper, list(of.values())) for paper, of in counts.items()],
                                                                 "claims", VERDICTS))
    figures.add("Cores", "Accuracy and latency of one image, ours and published, where both are known: other devices, clocks and "
                "networks.", plots.published(known[["core", "task", "latency_us", "accuracy"]].to_dict("records")))
    return render("overview.html.j2", claims=claims, verdicts=VERDICTS, counts=counts, headings=list(HEADINGS.values()),
                  cores=shown_cores(tables.cores), about_cores=Markup(re.sub(r"\*(.*?)\*", r"<i>\1</i>", str(escape(CORES_TEXT)))),
                  figures=figures), figures
