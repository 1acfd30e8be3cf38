"""Grids: many settings of one network, declared as lists or as a table, and run in batches.

A point is a chain of entries with some of their options set, and a seed. What a point needs is kept under a digest of its
entries, its seed and the code that makes it (``results/points/<digest>``), so a point that is there is never computed again,
whatever other points are added, taken away or put in another order.
"""
from __future__ import annotations

import copy
import csv
import hashlib
import itertools
import json
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import Field

from .catalog import unknown
from .code_digest import code_digest
from .config import Config, smoke_config
from .entries import ConfigError, modules_of, parse_entry, plain_name, read_yaml, validate
from .files import canonical_json
from .options import Options
from .points import FORMAT
from .runs import FLOAT, NO_PRUNER, SECTION_OF, RunNames, data_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .annotations import Entry, Json, StrPath
    from .entries import EntryOptions

__all__ = ["Grid", "GridOptions", "Point", "load_grid", "read_tasks", "tasks"]

#: Longest JSON of a job's tasks: a shell takes arguments of up to 131,072 bytes.
LONGEST = 60_000
MOST_POINTS = 100_000


class GridOptions(Options):
    """A grid: a network (``base``, names as of a run), and what is varied.

    ``axes``: key -> list of values, every combination is a point; ``table``: a CSV or TSV file beside this one, whose columns are
    keys and whose rows are points; with both, every row with every combination. A key is a field of a run (``quantizer``), whose
    values are names of entries, or an option of that entry (``quantizer.membrane.bits``).
    Short points share a job: of about ``seconds_per_job``, at ``seconds_per_point`` for a point (quantizing, pruning, evaluating,
    exporting) and ``seconds_per_training`` for a pre-training; points that need the same one share it. ``failures``: whether a
    point that fails keeps the table from being made, or is listed in it without results.
    """
    title: str
    about: str = ""
    base: dict[Any, Any]
    seeds: list[int] = Field([0], min_length=1)
    axes: dict[str, list[Any]] = {}
    table: str | None = None
    entries: dict[Any, Any] = {}
    seconds_per_point: float = Field(20.0, gt=0)
    seconds_per_training: float = Field(60.0, gt=0)
    seconds_per_job: float = Field(300.0, gt=0)
    failures: Literal["stop", "leave_out"] = "stop"


@dataclass(frozen=True)
class Point:
    """A point: its settings (key -> value) and seed, the name of its prepared data, its entries (field -> plain data or None).

    ``training`` and ``key`` are the digests under which its pre-trained network and its own files are kept.
    """
    settings: dict[str, Json]
    seed: int
    data: str
    entries: dict[str, Entry | None]
    training: str
    key: str

    @property
    def path(self) -> str:
        """Its prepared data."""
        return data_file(self.data)

    @property
    def label(self) -> str:
        """For the terminal."""
        told = ",".join(f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in self.settings.items())
        return f"{told or 'base'}/{self.seed}".replace(" ", "")


@dataclass(frozen=True)
class Grid:
    """A checked grid.

    Members
    -------
    options : GridOptions
    points : tuple of Point
    datasets : dict name -> Options, of the data that points need
    """
    options: GridOptions
    points: tuple[Point, ...]
    datasets: dict[str, EntryOptions]

    @cached_property
    def trainings(self) -> list[Point]:
        """The first point of every pre-training, in order."""
        return list({point.training: point for point in reversed(self.points)}.values())[::-1]

    @cached_property
    def _batches(self) -> dict[str, list[list[Point]]]:
        return {level: self._cut(level) for level in ("training", "point")}

    def batches(self, level: str) -> list[list[Point]]:
        """Batches of points that jobs of a level, "training" or "point", work through."""
        return self._batches[level]

    def _cut(self, level: str) -> list[list[Point]]:
        seconds = self.options.seconds_per_training if level == "training" else self.options.seconds_per_point
        found: list[list[Point]] = []
        most, size = max(1, int(self.options.seconds_per_job / seconds)), 0
        for point in self.trainings if level == "training" else self.points:
            own = len(canonical_json(point.entries)) + 200
            if not found or len(found[-1]) == most or size + own > LONGEST:
                found.append([])
                size = 0
            found[-1].append(point)
            size += own
        return found

    def trainings_of(self, batch: Iterable[Point]) -> list[int]:
        """Numbers of the training batches that a batch of points needs."""
        return sorted({self._training_at[point.training] for point in batch})

    @cached_property
    def _training_at(self) -> dict[str, int]:
        return {point.training: n for n, batch in enumerate(self.batches("training")) for point in batch}


def tasks(batch: Sequence[Point], level: str = "point") -> str:
    """A batch as JSON text for a job of a level: every entry once. A training is told of what it depends on, and no more."""
    if level == "training":
        batch = [replace(point, key=point.training, entries={**point.entries, "quantizer": None, "pruner": None},
                         settings={key: value for key, value in point.settings.items()
                                   if key.split(".")[0] not in ("quantizer", "pruner")}) for point in batch]
    entries: dict[str, Entry | None] = {}
    for point in batch:
        for entry in point.entries.values():
            entries.setdefault(_digest(entry), entry)
    points = [{**vars(point), "entries": {field: _digest(entry) for field, entry in point.entries.items()}} for point in batch]
    return json.dumps({"entries": entries, "points": points}, separators=(",", ":"))        # settings stay in their order


def read_tasks(value: Json) -> list[Point]:
    """The points of what :func:`tasks` wrote, as plain data."""
    return [Point(**{**point, "entries": {field: value["entries"][digest] for field, digest in point["entries"].items()}})
            for point in value["points"]]


def _digest(value: Json) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def _split(key: str, where: str) -> tuple[str, list[str]]:
    """"quantizer.membrane.bits" -> ("quantizer", ["membrane", "bits"])."""
    field, *path = str(key).split(".")
    if field not in SECTION_OF:
        raise ConfigError(f"{where}: " + unknown("field", field, SECTION_OF))
    if not all(path):
        raise ConfigError(f"{where}: a key must be like quantizer or quantizer.membrane.bits, not {key!r}")
    return field, path


def _cell(key: str, text: str) -> Json:
    """The value of a cell: a name of an entry is text, other values are as in YAML, and 1e-05 is a number."""
    if "." not in key:
        return text.strip()
    value = yaml.safe_load(text)
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _rows(path: Path) -> list[tuple[str, dict[str, Json]]]:
    """Rows of a table: list of (where, dict key -> value); an empty cell is left out."""
    if path.suffix not in (".csv", ".tsv"):
        raise ConfigError(f"{path}: a table must be .csv or .tsv")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            lines = [(reader.line_num, line) for line in reader if any(line)]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise ConfigError(f"{path} must be a table in UTF-8 text") from None
    if len(lines) < 2:
        raise ConfigError(f"{path} must have a line of keys and a line for each point")
    header = [cell.strip() for cell in lines[0][1]]
    twice = [key for key, count in Counter(header).items() if count > 1]
    if twice:
        raise ConfigError(f"{path}: column {twice[0]!r} stands twice")
    rows = []
    for n, line in lines[1:]:
        where = f"{path}, line {n}"
        if len(line) != len(header):
            raise ConfigError(f"{where} must have {len(header)} cells, not {len(line)}")
        try:
            rows.append((where, {key: _cell(key, cell) for key, cell in zip(header, line) if cell.strip()}))
        except (yaml.YAMLError, ValueError):
            raise ConfigError(f"{where} has a cell that is no value") from None
    return rows


def _with(entry: Entry, path: Sequence[str], value: Json, where: str) -> Entry:
    """An entry (plain data) with an option set."""
    entry = inner = copy.deepcopy(entry)
    for key in path[:-1]:
        held = inner.get(key)
        if held is None:
            held = inner[key] = {}
        if not isinstance(held, dict):
            raise ConfigError(f"{where}: {key} has no keys")
        inner = held
    inner[path[-1]] = value
    return entry


def _entries(raw: Entry, names: Entry, settings: dict[str, Json], smoke: bool,
             where: str) -> tuple[Entry, dict[str, Entry | None]]:
    """A chain with settings: (field -> name, field -> entry as plain data or None)."""
    for key, value in settings.items():
        if "." not in key:
            names = {**names, key: value}
    chosen: dict[str, Entry | None] = {}
    for field, section in SECTION_OF.items():
        name = names[field]
        none = {"quantizer": FLOAT, "pruner": NO_PRUNER}.get(field)
        known = raw.get(section) or {}
        if name != none and (not isinstance(name, str) or name not in known):
            raise ConfigError(f"{where}: {field}: " + unknown(field, name, [*known, *([none] if none else [])]))
        chosen[field] = None if name == none else known[name]
    for key, value in settings.items():
        field, path = _split(key, where)
        if path:
            entry = chosen[field]
            if entry is None:
                raise ConfigError(f"{where}: {key} is an option of a {field}, but {field} is {names[field]!r}")
            chosen[field] = _with(entry, path, value, where)
    if smoke:
        small = smoke_config({SECTION_OF[field]: {"it": entry} for field, entry in chosen.items() if entry is not None})
        chosen = {field: None if entry is None else small[SECTION_OF[field]]["it"] for field, entry in chosen.items()}
    return names, chosen


def _code(parts: dict[str, EntryOptions], stages: Sequence[str], *fields: str) -> str:
    """Digest of the code of stages and of the entries of fields."""
    modules = [module for field in fields for module in modules_of(SECTION_OF[field], parts[field])]
    return code_digest(*[f"spikeproof.stages.{stage}" for stage in stages], *modules)


def load_grid(path: StrPath, raw: Entry, config: Config, smoke: bool = False) -> Grid:
    """Grid file -> Grid; every point is checked as a run is.

    Parameters
    ----------
    raw : the configuration as plain data, with the grid's own entries (:func:`spikeproof.config.with_entries`)
    config : Config, whose datasets are taken as they are where no setting changes them
    smoke : bool, as of :func:`spikeproof.config.smoke_config`

    Raises
    ------
    ConfigError
        If a key or name is unknown, a value is out of range, a chain cannot be run, or two points are the same.
    """
    path = Path(path)
    options = validate(GridOptions, read_yaml(path), f"{path}: ")
    plain_name(path.stem, f"{path}: the file")
    base = validate(RunNames, options.base, f"{path}: base")
    if base.seeds != [0] or base.hardware is not None:
        raise ConfigError(f"{path}: base has no seeds and no hardware: seeds of a grid stand beside it, and it builds no cores")
    if min(options.seeds) < 0 or len(set(options.seeds)) < len(options.seeds):
        raise ConfigError(f"{path}: seeds must be different numbers from 0, not {options.seeds}")
    names = base.model_dump(exclude={"seeds", "hardware"})
    rows: list[tuple[str, dict[str, Json]]] = [(str(path), {})] if options.table is None else _rows(path.parent / options.table)
    for key, values in options.axes.items():
        if not values:
            raise ConfigError(f"{path}: axes.{key} must have a value")
    both = set(options.axes) & {key for _, row in rows for key in row}
    if both:
        raise ConfigError(f"{path}: {min(both)} is an axis and a column of the table")
    count = len(rows) * len(options.seeds)
    for values in options.axes.values():
        count *= len(values)
    if count > MOST_POINTS:
        raise ConfigError(f"{path} has {count:,} points; at most {MOST_POINTS:,} are taken")
    for where, row in [*rows, (f"{path}: axes", options.axes)]:
        for key in row:
            _split(key, where)
    keys = dict.fromkeys(key for _, row in [*rows, (None, options.axes)] for key in row)
    for key in keys:
        inner = next((other for other in keys if "." in key and other.startswith(f"{key}.")), None)
        if inner:
            raise ConfigError(f"{path}: {key} and {inner} are both set, and the one holds the other: leave out one of them")
    parsed: dict[str, EntryOptions] = {}
    checked: set[str] = set()
    datasets: dict[str, EntryOptions] = {}
    points: list[Point] = []
    seen: dict[str, str] = {}

    def parse(field: str, entry: Entry, where: str) -> EntryOptions:
        try:
            at = canonical_json([field, entry])
        except (TypeError, ValueError):
            raise ConfigError(f"{where}: {field} has a value that is no finite number, text, list or mapping") from None
        if at not in parsed:
            parsed[at] = parse_entry(SECTION_OF[field], entry, f"{where}: {field}")
        return parsed[at]
    for (where, row), varied in itertools.product(rows, itertools.product(*options.axes.values())):
        settings = {**row, **dict(zip(options.axes, varied))}
        at = where if options.table else f"{path}: {', '.join(f'{k} {v!r}' for k, v in zip(options.axes, varied)) or 'base'}"
        called, chosen = _entries(raw, names, settings, smoke, at)
        parts = {field: parse(field, entry, at) for field, entry in chosen.items() if entry is not None}
        full = {field: parts[field].model_dump(mode="json") if field in parts else None for field in SECTION_OF}
        chain = canonical_json(full)
        if chain not in checked:
            checked.add(chain)
            _check(called, parts, config, at)
        data = called["dataset"]
        if config.entries["datasets"].get(data) != parts["dataset"]:
            data = f"{data}-{_digest(full['dataset'])[:8]}"
        datasets[data] = parts["dataset"]
        first = [full[field] for field in ("dataset", "architecture", "neuron", "pretraining")]
        trains = _code(parts, ("pretrain",), "architecture", "neuron", "pretraining")
        follows = _code(parts, ("quantize", "prune", "evaluate", "export"), *parts)
        for seed in options.seeds:
            training = _digest(["training", *first, seed, trains])
            key = _digest(["point", FORMAT, training, full["quantizer"], full["pruner"], follows])
            if key in seen:
                raise ConfigError(f"{at}: this is the same network as that of {seen[key]}")
            seen[key] = at
            points.append(Point(settings, seed, data, {f: e for f, e in full.items() if f != "dataset"}, training, key))
    return Grid(options, tuple(points), datasets)


def _check(names: Entry, parts: dict[str, EntryOptions], config: Config, where: str) -> None:
    """ConfigError where the entries of a point do not fit each other, with the rules of a study's runs."""
    entries = {section: {names[field]: parts[field]} if field in parts else {} for field, section in SECTION_OF.items()}
    try:
        Config(entries, config.hardware, config.machine).check_chain(names)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
