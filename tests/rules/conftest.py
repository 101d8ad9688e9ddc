from pathlib import Path
from typing import Any

import pytest

from app.rules.yaml_text import parse_yaml

Doc = dict[str, Any]


@pytest.fixture(scope="session")
def published_texts(published_rules: list[Path]) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in published_rules]


@pytest.fixture(scope="session")
def published_docs(published_texts: list[str]) -> dict[str, Doc]:
    """The published rules by id."""
    docs: dict[str, Doc] = {}
    for text in published_texts:
        doc = parse_yaml(text)
        assert isinstance(doc, dict)
        docs[doc["id"]] = doc
    return docs
