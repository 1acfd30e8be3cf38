"""A copy of what a run of Snakemake needs, to change and to run in."""
import os
import shutil
import subprocess
import sys

import yaml
from conftest import ROOT


class SourceTree:
    """Sources, workflow and configuration, copied to a folder."""
    def __init__(self, at):
        self.at = at
        for name in ("src", "hdl", "workflow", "config", "profiles"):
            shutil.copytree(ROOT / name, at / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for name in ("Snakefile", "environment.yml"):
            shutil.copy(ROOT / name, at)

    def copy(self, at):
        """The same tree elsewhere, with all that ran in it."""
        other = object.__new__(type(self))
        other.at = shutil.copytree(self.at, at)
        return other

    def write(self, config=None, study=None):
        """Replace the configuration, or the default study, by plain data."""
        if config:
            (self.at / "config" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        if study:
            (self.at / "config" / "studies" / "default.yaml").write_text(yaml.safe_dump(study, sort_keys=False))

    def command(self, *arguments):
        return [sys.executable, "-m", "snakemake", "--cores", "2", "--scheduler", "greedy", *arguments]

    def snakemake(self, *arguments, check=True, **environment):
        """Run it -> standard output and error; its failure fails the test unless ``check`` is false."""
        done = subprocess.run(self.command(*arguments), cwd=self.at, capture_output=True, text=True,
                              env={**os.environ, **environment})
        if check:
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr
