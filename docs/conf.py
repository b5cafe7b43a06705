"""The documentation as a site: ``sphinx-build -W -b html docs OUT``.

The build needs no network, and a reader's browser loads nothing from other sites: equations are
MathML, fonts are the system's, pictures and search are part of the site.

People also read the pages in a repository's web view, so links are relative to files of the
repository. ``_linked`` turns links to other pages into links of the site.
"""

import importlib
import os
import re
import sys
import typing
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

DOCS = Path(__file__).parent.resolve()
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))
typing.GENERATING_DOCUMENTATION = "sphinx"  # pyright: ignore[reportAttributeAccessIssue]

with patch.object(Path, "expanduser", lambda path: path):  # Keep "~": no builder's home directory.
    import wtflow_jax.detector.config
from wtflow_jax.flow.types import VelocityFn  # noqa: E402

LINKED = DOCS / "linked"
"""Links to pages elsewhere in the repository, for Sphinx to find them."""
README = ROOT / "README.md"
NOTEBOOKS = ROOT / "toy" / "notebooks"
PAGES = {README: DOCS / "index.md"}
PAGES |= {ROOT / name: LINKED / name for name in ("CHANGELOG.md", "CONTRIBUTING.md")}
PAGES |= {path: LINKED / "notebooks" / path.name for path in NOTEBOOKS.iterdir()}
"""Files of the repository to their pages in the site."""
FLAGS = "app.commands", "app.datasets", "detector.config", "lab.all", "lab.flags", "lab.sweep"
FLAGS += ("velocities.exact",)
"""Modules whose types hold what Tyro reads of flags."""
LINK = re.compile(r"(?<=\]\()[^)\s#:]+")

project = "WT-Flow in JAX"
author = "The WT-Flow in JAX authors"
version = release = wtflow_jax.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
nitpicky = True
# Imported attributes get no source page of their own.
viewcode_follow_imported_members = False
# Names of other projects are not links: that would need their inventories from the network.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!wtflow_jax\b).*"),
    (r"py:class", r".*\.(Entry|Flags|Function|Item|Part|Result|Tree)"),  # Type variables.
    (r"py:class", r".*\.helptext\._default"),  # Part of flags' types.
]
exclude_patterns = ["results/*"]  # Included in results.md and its appendix.

nb_execution_mode = "off"
highlight_language = "none"
smartquotes = False  # It turns the -- of flags into dashes.
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False  # The signature has them.

html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False


def _linked(text: str, origin: Path, page: Path) -> str:
    """Return Markdown whose links to files of the repository are links of the site."""

    def link(found: re.Match[str]) -> str:
        target = (origin.parent / found[0]).resolve()
        if not target.exists():
            return found[0]  # Sphinx warns about it.
        shown = PAGES.get(target, target)
        # Sphinx would follow the link, out of its sources; it knows pages by name.
        shown = shown.with_suffix("") if LINKED in shown.parents else shown
        return Path(os.path.relpath(shown, page.parent)).as_posix()

    return LINK.sub(link, text)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    page = Path(app.env.doc2path(name))
    if page.suffix != ".md":
        return
    origin = {copy: path for path, copy in PAGES.items() if copy != DOCS / "index.md"}
    source[0] = _linked(source[0], origin.get(page, page), page)
    if name == "index":
        source[0] = _linked(README.read_text(), README, page) + source[0]


def _plain(
    app: Sphinx, what: str, name: str, member: object, options: object, lines: list[str]
) -> None:
    """Escape stars and bars in docstrings, as in (n, *event) or |f|, except in ``code``."""
    for i, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
        lines[i] = "``".join(parts)
    if what in ("attribute", "data", "property"):
        # Napoleon reads the text before a colon in the first line as a type; start with a comment.
        lines[:0] = ["..", ""]


def _short(
    app: Sphinx, what: str, name: str, member: object, options: object, taken: str, given: str
) -> tuple[str | None, ...]:
    """Shorten signatures: VelocityFn by name, without the arguments that Flax adds to modules."""
    written = stringify_annotation(VelocityFn, "smart")
    added = r", parent: [^=]*= <[^>]*>, name: str \| None = None"
    shorter = re.sub(added, "", taken) if taken else taken
    return tuple(text and text.replace(written, "VelocityFn") for text in (shorter, given))


def _without_tyro(module: ModuleType) -> None:
    """Take what Tyro reads out of the types of a module's dataclasses: Annotated[X, ...] is X."""
    for found in vars(module).values():
        if not (isinstance(found, type) and is_dataclass(found)):
            continue
        if found.__module__ == module.__name__:
            types = typing.get_type_hints(found)
            for names in (found.__annotations__, found.__init__.__annotations__):
                names.update({name: types[name] for name in names.keys() & types.keys()})


def _skip(app: Sphinx, what: str, name: str, member: object, skip: bool, options: object) -> bool:
    """Skip fields of named tuples: their class describes them."""
    return skip or (getattr(member, "__doc__", None) or "").startswith("Alias for field number")


def _inline(writer: nodes.NodeVisitor, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))  # pyright: ignore[reportAttributeAccessIssue]
    raise nodes.SkipNode


def _block(writer: nodes.NodeVisitor, node: nodes.math_block) -> None:
    writer.body.append(convert(node.astext(), display="block"))  # pyright: ignore[reportAttributeAccessIssue]
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    for name in FLAGS:
        _without_tyro(importlib.import_module(f"wtflow_jax.{name}"))
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _plain, priority=400)  # Before napoleon.
    app.connect("autodoc-process-signature", _short)
    app.connect("autodoc-skip-member", _skip)
