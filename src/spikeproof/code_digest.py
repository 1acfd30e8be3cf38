"""Which code a stage runs: a digest over the modules that it imports, directly or not.

Found by reading import statements, so nothing is imported. Comments, docstrings, annotations and layout do not count:
the digest is of the syntax tree. Snakemake takes it as a parameter, so a stage reruns when its code changed.
"""
from __future__ import annotations

import ast
import hashlib
import json
import sys
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

from .files import cache_folder, write_text

__all__ = ["code_digest", "imported_modules"]

ROOTS = {"spikeproof": Path(__file__).parent, "spikeproof_hdl": Path(__file__).parents[2] / "hdl" / "spikeproof_hdl"}
#: Texts that are remembered, the newest ones: those of some versions of the program.
MOST = 2000


def _path(module: str) -> Path | None:
    """File of a module of ours, or None."""
    package, *rest = module.split(".")
    if package not in ROOTS:
        return None
    base = ROOTS[package].joinpath(*rest)
    for path in (base.with_suffix(".py") if rest else base / "__init__.py", base / "__init__.py"):
        if path.is_file():
            return path
    return None


class _Running(ast.NodeTransformer):
    """Leaves out what no run reads: annotations (those of a class's fields are read), and what is imported for them."""
    fields = False

    def _inside(self, node: ast.AST, fields: bool) -> ast.AST:
        before, self.fields = self.fields, fields
        self.generic_visit(node)
        self.fields = before
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        unread = {"__future__": {"annotations"}, "typing": {"TYPE_CHECKING"}}.get(node.module or "", set())
        node.names = [alias for alias in node.names if alias.name not in unread]
        return node if node.names else None

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(of) for of in node.orelse]
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node, fields=True)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if self.fields:
            return node
        return None if node.value is None else ast.Assign([node.target], node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        every = node.args
        for of in (*every.posonlyargs, *every.args, *every.kwonlyargs, every.vararg, every.kwarg):
            if of is not None:
                of.annotation = None
        return self._inside(node, fields=False)

    visit_AsyncFunctionDef = visit_FunctionDef


@dataclass(frozen=True)
class _Source:
    """What is read from the text of a module.

    Members
    -------
    code : str, digest of what it runs
    imports : of each import statement: dots of a relative one, module, names imported from it
    templates : str, folders or files of templates that it names
    """
    code: str
    imports: list[tuple[int, str, list[str]]]
    templates: list[str]

    @classmethod
    def of(cls, text: str) -> _Source:
        tree = _Running().visit(ast.parse(text))
        imports: list[tuple[int, str, list[str]]] = []
        templates: list[str] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) \
                    and ast.get_docstring(node, False) is not None:
                node.body = node.body[1:]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imports += [(0, alias.name, []) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imports.append((node.level, node.module or "", [alias.name for alias in node.names]))
            elif isinstance(node, ast.Constant) and str(node.value).split("/")[0] == "templates":
                templates.append(str(node.value))
        return cls(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imports, templates)


class _Kept:
    """What was read from texts, by their digests, in a file of the cache folder: reading them takes a second, in every start of
    Snakemake and of a training. What cannot be read or written there is read from the texts."""
    def __init__(self) -> None:
        with open(__file__, "rb") as file:
            key = hashlib.sha256(file.read() + sys.version.encode()).hexdigest()[:24]
        self.path: Path | None = None
        self.known: dict[str, _Source] = {}
        self.fresh = False
        with suppress(OSError, RuntimeError, ValueError, TypeError, AttributeError):
            self.path = cache_folder() / f"code-{key}.json"
            known = json.loads(self.path.read_text(encoding="utf-8"))
            self.known = {digest: _Source(*of) for digest, of in known.items()}

    def source(self, raw: bytes) -> _Source:
        """What is read from the bytes of a module."""
        digest = hashlib.sha256(raw).hexdigest()
        if digest not in self.known:
            self.known[digest] = _Source.of(raw.decode())
            self.fresh = True
        return self.known[digest]

    def save(self) -> None:
        """Write what is new."""
        if self.fresh and self.path is not None:
            newest = dict(list(self.known.items())[-MOST:])
            with suppress(OSError, ValueError):
                write_text(self.path, json.dumps({digest: astuple(of) for digest, of in newest.items()}))
        self.fresh = False


@cache
def _kept() -> _Kept:
    return _Kept()


@cache
def _read(module: str) -> tuple[frozenset[str], bytes]:
    """Modules of ours that one names in its import statements; digest of its code and of the templates that it names."""
    path = _path(module)
    assert path is not None
    source = _kept().source(path.read_bytes())
    names: set[str] = set()
    package = (module if path.name == "__init__.py" else module.rpartition(".")[0]).split(".")
    for level, base, imported in source.imports:
        if level:
            base = ".".join([*package[:len(package) - level + 1], *([base] if base else [])])
        names |= {base, *(f"{base}.{name}" for name in imported)}
    own = hashlib.sha256(f"{module}\n{source.code}\n".encode())
    # A module that uses a template folder, or a file of it, names it: "templates", "templates/name". Those files are code too.
    for name in source.templates:
        named = path.parent / name
        for template in sorted(named.iterdir()) if named.is_dir() else [named]:
            own.update(template.read_bytes() if template.is_file() else b"")
    return frozenset(name for name in names if _path(name)), own.digest()


def imported_modules(*modules: str) -> list[str]:
    """All modules of ours that these import, themselves included; sorted names.

    Raises
    ------
    ModuleNotFoundError
        If one of the given modules is not ours or does not exist.
    """
    found: set[str]
    found, todo = set(), list(modules)
    while todo:
        module = todo.pop()
        if _path(module) is None:
            raise ModuleNotFoundError(f"no module {module!r} in {', '.join(ROOTS)}")
        if module not in found:
            found.add(module)
            todo += _read(module)[0]
    return sorted(found)


@cache
def code_digest(*modules: str) -> str:
    """Digest (16 hexadecimal digits) of all code that these modules run, templates included."""
    total = hashlib.sha256()
    for module in imported_modules(*modules):
        total.update(_read(module)[1])
    _kept().save()
    return total.hexdigest()[:16]
