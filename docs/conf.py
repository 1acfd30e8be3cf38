"""The documentation site: `make docs` builds docs/_build/html from the pages of this folder."""
import contextlib
import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "hdl")]

import spikeproof  # noqa: E402
from spikeproof import cli  # noqa: E402

project, author, version = "spikeproof", "the spikeproof authors", spikeproof.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "requirements.txt"]
html_theme, html_title = "furo", f"spikeproof {version}"
myst_heading_anchors = 4
# Files of the tree beside this folder that pages point at -> pages of the site.
OUTSIDE = {"../config/README.md": "configuration.md", "../CONTRIBUTING.md": "contributing.md"}


def _read(app, name, source):
    """Pages that stand elsewhere in the tree become pages of the site, and links to them links inside it."""
    for path, page in OUTSIDE.items():
        if page == f"{name}.md":
            text = (ROOT / path.removeprefix("../")).read_text(encoding="utf-8")
            source[0] = text.replace("](../docs/", "](").replace("](docs/", "](")
        source[0] = source[0].replace(f"]({path}", f"]({page}")
    if name == "cli":
        source[0] = source[0].replace("COMMANDS", _commands())


def _commands():
    """The help of the command and of each of its stages, as the terminal shows it."""
    found = []
    for name in ("", *cli.STAGES):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            cli.parser().parse_args([*filter(None, [name]), "--help"])
        found.append(f"## `spikeproof {name}`\n\n```text\n{out.getvalue().rstrip()}\n```\n" if name else
                     f"```text\n{out.getvalue().rstrip()}\n```\n")
    return "\n".join(found)


def setup(app):
    app.connect("source-read", _read)
