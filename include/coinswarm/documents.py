"""Where rendered documentation lies: written by the DAG `publish_docs`, served by the plugin's authenticated pages."""

from __future__ import annotations

import os
from pathlib import Path

from coinswarm.errors import UserError
from coinswarm.names import slug


def folder(kind: str) -> Path:
    """The folder of one kind of documents (`dbt_docs`, `data_docs`), created if missing.

    Raises:
        UserError: COINSWARM_HOME is not set, so that no one knows where the platform keeps its files.
    """
    home = os.environ.get("COINSWARM_HOME")
    if not home:
        raise UserError("COINSWARM_HOME is not set: it names the data folder of this installation")
    path = Path(home) / "docs" / slug(kind, what="kind of documents")
    path.mkdir(parents=True, exist_ok=True)
    return path


def document(kind: str, name: str) -> Path:
    """A file inside a folder of documents.

    Raises:
        UserError: the name leads outside of the folder.
        FileNotFoundError: there is no such file.
    """
    root = folder(kind).resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise UserError("the name leads outside of the documents")
    if not path.is_file():
        raise FileNotFoundError(name)
    return path
