"""The tree itself: locked versions, which module may import which, what counts as code."""
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT


def test_checking_a_configuration_does_not_import_torch():
    code = ("import sys, yaml; sys.path[:0] = ['src', 'hdl']\n"
            "from spikeproof.config import parse_config, load_study\n"
            "config = parse_config(yaml.safe_load(open('config/config.yaml')))\n"
            "load_study('config/studies/default.yaml', config)\n"
            "assert 'torch' not in sys.modules and 'amaranth' not in sys.modules and 'pandas' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def _pinned(text):
    return sorted(line.strip(" -") for line in text.splitlines() if "==" in line)


def test_lock_and_environment_name_the_same_versions():
    lock = _pinned((ROOT / "requirements.lock").read_text())
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert len(lock) > 50
    assert sorted(pip) == lock
    assert "python=3.11" in environment["dependencies"]


def test_lock_covers_what_the_package_needs():
    import tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {line.split("==")[0].lower() for line in _pinned((ROOT / "requirements.lock").read_text())}
    needed = {requirement.split(">")[0].split("=")[0].lower() for requirement in project["dependencies"]}
    assert len(needed) >= 10 and needed <= names


def test_no_module_points_up():
    """Ints know neither torch nor hardware; hardware knows no torch; nothing imports the workflow."""
    from spikeproof.code_digest import imported_modules
    for module in ("spikeproof.integer", "spikeproof.reference", "spikeproof.netfile", "spikeproof.network"):
        found = imported_modules(module)
        assert not [m for m in found if m.startswith("spikeproof_hdl")]
        assert not {"spikeproof.models", "spikeproof.training", "spikeproof.convert"} & set(found)
    files = (ROOT / "hdl" / "spikeproof_hdl").glob("*.py")
    hardware = imported_modules(*(f"spikeproof_hdl.{p.stem}" for p in files if p.stem != "__init__"))
    assert len(hardware) > 15
    assert not {"spikeproof.models", "spikeproof.training", "spikeproof.convert"} & set(hardware)
    assert not [p for p in Path(ROOT / "src").rglob("*.py") if "import snakemake" in p.read_text()]


def test_annotations_are_no_code(tmp_path, monkeypatch):
    """What only a type checker reads changes no digest, and imports for it are none; what runs does."""
    from spikeproof import code_digest as module
    monkeypatch.setattr(module, "ROOTS", {"pkg": tmp_path})
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "heavy.py").write_text("x = 1\n")

    def digest(text):
        (tmp_path / "a.py").write_text(text)
        for of in (module._read, module.code_digest):
            of.cache_clear()
        return module.code_digest("pkg.a")
    try:
        plain = digest("def f(x, *y, z=1, **more):\n    return x\n")
        typed = digest("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .heavy import x as kind\n"
                       "def f(x: 'kind', *y: int, z: int = 1, **more: str) -> 'kind':\n    'Doc.'\n    return x\n")
        assert module.imported_modules("pkg.a") == ["pkg.a"]
        assert typed == plain
        typed = digest("from __future__ import annotations\ndef f(x, *y, z=1, **more):\n    held: int\n    return x\n")
        assert typed == plain
        assert digest("x: int = 1\n") == digest("x = 1\n")
        field = digest("class A:\n    x: int = 1\n")                   # what a class's options may be is read
        assert field != digest("class A:\n    x: str = 1\n")
        assert digest("def f(x, *y, z=2, **more):\n    return x\n") != plain
        digest("from .heavy import x\n")
        assert "pkg.heavy" in module.imported_modules("pkg.a")
    finally:
        for of in (module._read, module.code_digest):
            of.cache_clear()


def test_what_was_read_of_code_is_kept(tmp_path, monkeypatch):
    """Starts read no module that was read before; a file that says nothing of use is read round and written again."""
    from spikeproof import code_digest as module
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def digest():
        for of in (module._kept, module._read, module.code_digest):
            of.cache_clear()
        return module.code_digest("spikeproof.stages.bundle")
    try:
        first = digest()
        kept, = (tmp_path / "spikeproof").iterdir()
        text = kept.read_text()
        with monkeypatch.context() as patch:
            patch.setattr(module.ast, "parse", lambda text: pytest.fail("a module was read again"))
            assert digest() == first
        for spoilt in (text[:1000], "[1]", '{"a": [1]}'):
            kept.write_text(spoilt)
            assert digest() == first and kept.read_text() == text
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
        assert digest() == first
    finally:
        for of in (module._kept, module._read, module.code_digest):
            of.cache_clear()


def test_results_do_not_make_a_changed_tree(tmp_path, monkeypatch):
    """What a run wrote says nothing of the code that wrote it; a changed source does."""
    from spikeproof import provenance
    for name in ("src/a.py", "results/reference/b.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1")
    for words in ("init -q", "add -A", "-c user.name=a -c user.email=a@b.c commit -q -m first"):
        subprocess.run(["git", *words.split()], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "src" / "a.py"))
    changed = []
    for name in ("results/reference/b.json", "src/a.py"):
        (tmp_path / name).write_text("2")
        provenance.provenance.cache_clear()
        changed.append(provenance.provenance()["changed_tree"])
    provenance.provenance.cache_clear()
    assert changed == [False, True]
