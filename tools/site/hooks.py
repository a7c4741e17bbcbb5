"""What mkdocs calls while it builds the site."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from mkdocs.structure.files import File, Files

from tools.site.reference import MODULES, page

PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages that lie in the root of the repository."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the reference."""
    for module, title in MODULES.items():
        name = f"reference/{module.removeprefix('ember.').replace('.', '-')}.md"
        files.append(File.generated(config, name, content=page(module, title)))
    root = Path(__file__).parents[2]
    for source, name in PAGES.items():
        text = (root / source).read_text()
        files.append(File.generated(config, name, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to files of the repository lead there; those to pages stay as they are."""
    repository = "https://github.com/ember-svi/ember/blob/main"
    return re.sub(r"\]\(\.\./(?!reference)([^)]+)\)", rf"]({repository}/\1)", markdown)
