"""Which code a stage runs: a digest over the modules that it imports, directly or not.

Found by reading import statements, so nothing is imported. Comments, docstrings, annotations and layout do not count:
the digest is of the syntax tree. Snakemake takes it as a parameter, so a stage reruns when its code changed.
"""
from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

__all__ = ["code_digest", "imported_modules"]

ROOTS = {"spikeproof": Path(__file__).parent, "spikeproof_hdl": Path(__file__).parents[2] / "hdl" / "spikeproof_hdl"}


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


@cache
def _tree(path: Path) -> ast.Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree = _Running().visit(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) \
                and ast.get_docstring(node, False) is not None:
            node.body = node.body[1:]
    return tree


@cache
def _direct(module: str) -> frozenset[str]:
    """Modules of ours that a module names in its import statements."""
    found: set[str]
    path, found = _path(module), set()
    assert path is not None
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[:len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        found.update(name for name in names if _path(name))
    return frozenset(found)


@cache
def _own(module: str) -> bytes:
    """Digest of one module's code and of the templates that it names; kept, because many stages share their modules."""
    path = _path(module)
    assert path is not None
    own = hashlib.sha256(f"{module}\n{ast.dump(_tree(path))}\n".encode())
    # A module that uses a template folder, or a file of it, names it: "templates", "templates/name". Those files are code too.
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Constant) and str(node.value).split("/")[0] == "templates":
            named = path.parent / str(node.value)
            for template in sorted(named.iterdir()) if named.is_dir() else [named]:
                own.update(template.read_bytes() if template.is_file() else b"")
    return own.digest()


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
            todo += _direct(module)
    return sorted(found)


@cache
def code_digest(*modules: str) -> str:
    """Digest (16 hexadecimal digits) of all code that these modules run, templates included."""
    total = hashlib.sha256()
    for module in imported_modules(*modules):
        total.update(_own(module))
    return total.hexdigest()[:16]
