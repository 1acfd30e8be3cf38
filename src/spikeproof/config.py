"""Configuration: typed, checked without torch, errors in one sentence that names file and key.

``config/config.yaml`` holds named entries; a study lists runs as chains of those names. Paths are built from
the names, so runs that share a stage share its files.
"""
from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from .architectures.shapes import with_currents
from .catalog import CATALOG, load, unknown
from .entries import ConfigError, mapping, modules_of, parse_entry, plain_name, read_yaml, validate
from .options import Options
from .pretraining.base import Pretraining
from .runs import FLOAT, NO_PRUNER, SECTION_OF, Run, RunNames, StudyOptions, chain_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from .annotations import Entry, Json, StrPath
    from .entries import EntryOptions

__all__ = ["Config", "HardwareOptions", "MachineOptions", "load_study", "parse_config", "smoke_config", "with_entries"]

#: Folders of results/ that are not studies.
RESERVED_STUDIES = ("analyses", "data", "grids", "logs", "models", "parts", "points", "reference")


class HardwareOptions(Options):
    """How the core is built and on what it is tried."""
    lanes: int = Field(16, ge=1, le=256)
    updaters: int = Field(1, ge=1, le=64)
    fold: Literal["none", "all"] = "none"
    device: Literal["auto", "25k", "45k", "85k", "up5k"] = "auto"
    placer_seed: int = Field(1, ge=0)
    target_mhz: int = Field(100, ge=1, le=1000)
    bundle_images: int = Field(4, ge=1)


class MachineOptions(Options):
    """How a study is run here: where the datasets' own files are (default: environment variable SPIKEPROOF_DATA_DIR, else data),
    whether absent ones may be downloaded into that folder, the device that trains (SPIKEPROOF_DEVICE, else cpu; on cuda, trained
    weights differ in their last bits), and whether only to show that it runs."""
    data_dir: str | None = Field(None, min_length=1)
    download: bool = True
    device: str | None = None
    smoke: bool = False

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", value):
            raise ValueError(f"must be cpu, cuda, or cuda:1 for the second of several, not {value!r}")
        return value

    @field_validator("download", "smoke", mode="before")
    @classmethod
    def _as_on_the_command_line(cls, value: Json) -> Json:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(str(value).lower(), value)


def smoke_config(raw: Entry) -> Entry:
    """The same configuration (plain data) with every training cut to two optimizer steps of eight samples.

    Files of datasets need not be the published ones.
    """
    def smaller(section: str, value: Json) -> Json:
        kind = value.get("kind") if isinstance(value, dict) else None
        fields = load(section, kind).Options.model_fields if kind in CATALOG[section] else ()
        if "training" in fields:
            trained = value.get("training", {})
            value = {**value, "training": {**trained, "epochs": min(trained.get("epochs", 1), 1), "max_steps": 2, "batch_size": 8}}
        if "first" in fields and isinstance(value.get("first"), dict):
            value = {**value, "first": smaller(section, value["first"])}
        for key in {"class_list", "weights"} & set(fields):          # files: a smoke run has a folder of its own
            if isinstance(value.get(key), str):
                value = {**value, key: str(Path(value[key]).resolve())}
        if "official" in fields:
            value = {**value, "official": False}
        if "train_images" in fields:
            value = {**value, "train_images": None, "test_images": None}
        return value
    return {key: {name: smaller(key, value) for name, value in given.items()}
            if key in CATALOG and isinstance(given, dict) else given for key, given in raw.items()}


@dataclass(frozen=True)
class Config:
    """Checked configuration: the parsed entries (Options) of each section, the hardware, and where data come from."""
    entries: dict[str, dict[str, EntryOptions]]
    hardware: HardwareOptions
    machine: MachineOptions

    def entry(self, section: str, name: str) -> Entry:
        """The entry of a section as plain data, for a stage's parameters."""
        return self.entries[section][name].model_dump()

    def check_chain(self, names: Mapping[str, str]) -> None:
        """ConfigError where entries do not fit each other: what float networks can have, layers on the dataset's images and
        classes, neurons, trainings.

        Parameters
        ----------
        names : dict field of a run -> name of the entry
        """
        made: dict[str, Any] = {}
        for field, section in SECTION_OF.items():
            if names[field] not in (FLOAT, NO_PRUNER):
                entry = self.entries[section][names[field]]
                made[field] = load(section, entry.kind)(entry)
        neuron = made["neuron"]
        if "quantizer" not in made and "pruner" in made:
            raise ConfigError(f"pruner must be 'none' for a float network, not {names['pruner']!r}")
        if "quantizer" in made and neuron.activation != "spike":
            raise ConfigError(f"quantizer must be 'float' for neurons that do not spike ({names['neuron']!r}), "
                              f"not {names['quantizer']!r}")

        @contextmanager
        def naming(field: str, preposition: str, other: str) -> Iterator[None]:
            try:
                yield
            except ValueError as error:
                raise ConfigError(f"{field} {names[field]!r} {preposition} {other} {names[other]!r}: {error}") from None
        with naming("architecture", "on", "dataset"):
            spec, _, classes = made["dataset"].describe()
            boxes = made["architecture"].boxes
            if getattr(made["dataset"], "detection", False) != boxes:
                raise ValueError("the dataset has " + ("labels, and a detector wants boxes" if boxes else
                                                       "boxes, and this architecture decides classes: use kind yolo"))
            shapes = made["architecture"].layers(spec, classes)
        if "quantizer" in made:
            with naming("quantizer", "on", "architecture"):
                made["quantizer"].check(shapes, neuron)
        with naming("neuron", "in", "architecture"):
            neuron.check(shapes)
        if "pruner" in made:
            with naming("pruner", "on", "architecture"):
                made["pruner"].check(with_currents(shapes, neuron.synapses(shapes)), neuron)
        with naming("pretraining", "of", "neuron"):
            made["pretraining"].check(neuron, spec, shapes)
        if "quantizer" in made:
            with naming("quantizer", "for", "neuron"):
                made["pretraining"].check_quantizer(made["quantizer"], neuron, spec)
        if "pruner" in made:
            with naming("pruner", "for", "neuron"):
                Pretraining.check_training(made["pruner"].options.training, neuron, spec)
        for field in ("pretraining", "quantizer", "pruner"):
            training = getattr(made[field].options, "training", None) if field in made and boxes else None
            if training is not None:
                with naming(field, "for", "neuron"):
                    training.check_boxes(neuron)

    def check_analysis(self, name: str) -> None:
        """ConfigError where an analysis of trained networks cannot have its network (names that :meth:`check_chain` has taken)."""
        entry = self.entries["analyses"][name]
        parts = {field: self.entries[SECTION_OF[field]][getattr(entry.network, field)] for field in ("architecture", "neuron")}
        architecture, neuron = (load(SECTION_OF[field], part.kind)(part) for field, part in parts.items())
        try:
            load("analyses", entry.kind)(entry).check(architecture, neuron)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def analysis_inputs(self, name: str) -> list[str]:
        """Files that an analysis of trained networks reads: the prepared data, and a model per seed; [] for others."""
        network = getattr(self.entries["analyses"][name], "network", None)
        if network is None:
            return []
        runs = [Run(name, seed=seed, **chain_of(network)) for seed in network.seeds]
        return [runs[0].data, *(run.model for run in runs)]

    def analysis_parts(self, name: str) -> list[str]:
        """Of an exploration that several jobs share: files of their rows, model after model; [] for others."""
        entry = self.entries["analyses"][name]
        jobs = getattr(entry, "jobs", 1)
        return [f"results/parts/{name}/{seed}-{part}.json" for seed in entry.network.seeds for part in range(1, jobs + 1)] \
            if jobs > 1 else []

    def modules(self, section: str, name: str) -> list[str]:
        """Modules that implement an entry, for the stage's code digest."""
        return modules_of(section, self.entries[section][name])


def parse_config(raw: Json, where: str = "config") -> Config:
    """Check a whole configuration (plain data) -> Config.

    Raises
    ------
    ConfigError
        At the first unknown key or name, missing key, or value out of range.
    """
    known = {*CATALOG, "hardware", "study", "grid", *MachineOptions.model_fields}
    for key in mapping(raw, where):
        if key not in known:
            raise ConfigError(f"{where}: " + unknown("section", key, known))
    entries: dict[str, dict[str, EntryOptions]] = {}
    for section in CATALOG:
        entries[section] = {}
        for name, value in mapping({} if raw.get(section) is None else raw[section], f"{where}: {section}").items():
            at = f"{where}: {section}.{name}"
            if name in (FLOAT, NO_PRUNER):
                raise ConfigError(f"{at}: the names {FLOAT!r} and {NO_PRUNER!r} are reserved")
            entries[section][plain_name(name, f"{where}: {section}")] = parse_entry(section, value, at)
    hardware = {} if raw.get("hardware") is None else raw["hardware"]
    machine = {key: raw[key] for key in MachineOptions.model_fields if key in raw}
    return Config(entries, validate(HardwareOptions, hardware, f"{where}: hardware"),
                  validate(MachineOptions, machine, f"{where}: "))


def _beside(entry: Entry, path: StrPath) -> Entry:
    """A pre-training whose file of weights lies beside the study: its path as seen from the working directory."""
    if "weights" in entry:
        found = (Path(path).parent / entry["weights"]).resolve()
        entry = {**entry, "weights": str(found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found)}
    return {**entry, "first": _beside(entry["first"], path)} if isinstance(entry.get("first"), dict) else entry


def with_entries(raw: Entry, path: StrPath) -> Entry:
    """The configuration (plain data) with the entries that a study file adds to it.

    Raises
    ------
    ConfigError
        If an entry is not valid, or has a name that the configuration has already.
    """
    study, raw = read_yaml(path), dict(raw)
    added = study.get("entries", {}) if isinstance(study, dict) else {}
    for section, entries in mapping(added, f"{path}: entries").items():
        if section not in CATALOG:
            raise ConfigError(f"{path}: entries: " + unknown("section", section, CATALOG))
        present = raw.get(section) or {}
        for name, value in mapping(entries, f"{path}: entries.{section}").items():
            if name in present:
                raise ConfigError(f"{path}: entries.{section}.{name}: the configuration has an entry of this name already")
            plain_name(name, f"{path}: entries.{section}")
            parse_entry(section, value, f"{path}: entries.{section}.{name}")
        if section == "pretraining":
            entries = {name: _beside(value, path) for name, value in entries.items()}
        raw[section] = {**present, **entries}
    return raw


def _check_names(config: Config, chosen: Mapping[str, str], where: str) -> None:
    """ConfigError at the first name of a chain (dict field of a run -> name) that the configuration has not."""
    for field, section in SECTION_OF.items():
        extra = {"quantizer": [FLOAT], "pruner": [NO_PRUNER]}.get(field, [])
        known = [*config.entries[section], *extra]
        if chosen[field] not in known:
            raise ConfigError(f"{where}.{field}: " + unknown(field, chosen[field], known))


def load_study(path: StrPath, config: Config) -> tuple[StudyOptions, tuple[Run, ...]]:
    """Study file -> (StudyOptions, tuple of Run), every name checked against the configuration.

    Raises
    ------
    ConfigError
        If a name is unknown, a key misspelt, or a chain cannot be run.
    """
    if Path(path).stem in RESERVED_STUDIES:
        raise ConfigError(f"{path}: a study must not be called {Path(path).stem!r}, which is a folder of results")
    plain_name(Path(path).stem, f"{path}: the file")
    study = validate(StudyOptions, read_yaml(path), f"{path}: ")
    for key in study.defaults:
        if key not in RunNames.model_fields:
            raise ConfigError(f"{path}: defaults: " + unknown("key", key, RunNames.model_fields))
    runs: list[Run] = []
    chains: dict[tuple[str | int, ...], str] = {}
    for name, given in study.runs.items():
        plain_name(name, f"{path}: runs")
        where = f"{path}: runs.{name}"
        names = validate(RunNames, {**study.defaults, **mapping({} if given is None else given, where)}, where)
        chosen = names.model_dump(exclude={"seeds", "hardware"})
        cores = study.hardware if names.hardware is None else names.hardware
        _check_names(config, chosen, where)
        try:
            config.check_chain(chosen)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        for seed in names.seeds:
            if seed < 0:
                raise ConfigError(f"{where}.seeds must be 0 or more, not {seed}")
            chain = (*chosen.values(), seed)
            if chain in chains:
                raise ConfigError(f"{where}: seed {seed} is the same training as that of run {chains[chain]!r}")
            chains[chain] = str(name)
            built = seed == names.seeds[0] if cores == "first_seed" else cores
            runs.append(Run(name=str(name), seed=seed, hardware=built, **chosen))
    for name in study.analyses:
        if name not in config.entries["analyses"]:
            raise ConfigError(f"{path}: analyses: " + unknown("analysis", name, config.entries["analyses"]))
        network = getattr(config.entries["analyses"][name], "network", None)
        if network is not None:
            where = f"{path}: analyses: {name}.network"
            chosen = chain_of(network)
            _check_names(config, chosen, where)
            try:
                config.check_chain(chosen)
                config.check_analysis(name)
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from None
    return study, tuple(runs)
