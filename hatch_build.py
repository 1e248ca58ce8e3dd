"""The build's hook: README.md as the package index shows it.

There a link to a file of the repository leads nowhere. So of each the text stays, with the name of
the file, which the source distribution has; a picture goes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"^!\[[^\]]*\]\((?!https?://)[^)]*\)\n+", re.M)
LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?!https?://|#)(?P<file>[^)#]+)[^)]*\)")


def without_relative_links(markdown: str) -> str:
    """`[text](docs/a.md)` as "text (docs/a.md)"; just the text where it is the name already."""

    def named(link: re.Match[str]) -> str:
        text, file = link["text"], link["file"]
        return text if text == file else f"{text} ({file})"

    return LINK.sub(named, PICTURE.sub("", markdown))


class CustomMetadataHook(MetadataHookInterface):
    """Sets the project's readme."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text("utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": without_relative_links(text),
        }
