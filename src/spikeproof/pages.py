"""Pages of HTML that need no other file, and their figures."""
from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from .files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .annotations import Entry, StrPath
    from .drawing import Drawn

__all__ = ["Figures", "render", "save_figures"]


class Figures(list["Entry"]):
    """The figures of a page, in order."""
    def add(self, title: str, caption: str, drawn: Drawn) -> Entry:
        """A figure (:class:`spikeproof.drawing.Drawn`) as the page's templates have it: dict."""
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60]
        name += f"-{len(self) + 1}" if any(of["name"] == name for of in self) else ""
        files = {"svg": str(drawn), "csv": drawn.data}
        self.append({"title": title, "caption": caption, "name": name, **files,
                     **{f"{kind}_64": base64.b64encode(text.encode()).decode() for kind, text in files.items()}})
        return self[-1]


def render(template: str, **values: Any) -> str:
    """A page of templates/ as text."""
    environment = jinja2.Environment(loader=jinja2.PackageLoader("spikeproof", "templates"), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(**values)


def save_figures(folder: StrPath, figures: Iterable[Entry]) -> None:
    """Write figures of a page into a folder of their own, each as SVG and with its data as CSV; what was there goes."""
    folder = Path(folder)
    for old in [*folder.glob("*.svg"), *folder.glob("*.csv")]:
        old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for of in figures:
        for kind in ("svg", "csv"):
            write_text(folder / f"{of['name']}.{kind}", of[kind])
