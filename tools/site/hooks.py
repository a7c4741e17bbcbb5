"""What mkdocs calls while it builds the site."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from mkdocs.structure.files import File, Files

from tools.site import gallery
from tools.site.reference import MODULES, page

PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages that lie in the root of the repository."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the reference and of the gallery."""
    for module, title in MODULES.items():
        name = f"reference/{module.removeprefix('ember.').replace('.', '-')}.md"
        files.append(File.generated(config, name, content=page(module, title)))
    root = Path(__file__).parents[2]
    for source, name in PAGES.items():
        text = (root / source).read_text()
        files.append(File.generated(config, name, content=text.replace("](docs/", "](")))
    _add_gallery(files, config)
    return files


def _add_gallery(files: Files, config: Any) -> None:
    pages = {}
    for script in gallery.sources():
        content, pages[script.stem] = gallery.page(script)
        files.append(File.generated(config, f"gallery/{script.stem}.md", content=content))
        for picture in pages[script.stem]:
            name = f"gallery/{script.stem}/{picture.name}"
            files.append(File.generated(config, name, abs_src_path=str(picture)))
    files.append(File.generated(config, "gallery/index.md", content=gallery.index(pages)))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to files of the repository become their paths: the site does not hold them, but for the gallery."""
    for folder in ("../examples/gallery/README.md", "examples/gallery"):
        markdown = markdown.replace(f"]({folder})", "](gallery/index.md)")
    return re.sub(r"\[([^\]]*)\]\(\.\./(?!reference)([^)]+)\)", _path, markdown)


def _path(link: re.Match[str]) -> str:
    text, path = link.groups()
    return f"`{path}`" if path in text else f"{text} (`{path}`)"
