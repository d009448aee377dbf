"""DocArray's index: typed documents in, found by vector, by filter and by both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from docarray import BaseDoc, DocList
from docarray.index import QdrantDocumentIndex
from docarray.typing import NdArray
from qdrant_client import models
from qdrant_client.local.qdrant_local import QdrantLocal

ROWS = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1]], np.float32)


class Text(BaseDoc):  # type: ignore[misc]  # its package is not here
    text: str
    n: int
    row: NdArray[3]


Index = QdrantDocumentIndex[Text]


def documents() -> Any:
    return DocList[Text](
        [Text(id=str(n), text=f"text {n}", n=n, row=row) for n, row in enumerate(ROWS)]
    )


@pytest.fixture
def index() -> Any:
    index = Index(QdrantDocumentIndex.DBConfig(location=":memory:"))
    index.index(documents())
    return index


def test_it_is_local(index: Any) -> None:
    assert isinstance(index._client._client, QdrantLocal)
    assert index.num_docs() == 4


def test_the_nearest_come_first(index: Any) -> None:
    found, scores = index.find(ROWS[0], search_field="row", limit=2)
    assert [each.text for each in found] == ["text 0", "text 1"]
    assert scores[0] == pytest.approx(1.0)
    many, _ = index.find_batched(ROWS[[0, 3]], search_field="row", limit=1)
    assert [[each.text for each in found] for found in many] == [["text 0"], ["text 3"]]


def test_a_filter(index: Any) -> None:
    only = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=2))])
    assert {each.n for each in index.filter(only)} == {2, 3}
    query = index.build_query().find(ROWS[0], search_field="row").filter(only).build(limit=1)
    assert [each.n for each in index.execute_query(query)] == [2]


def test_documents_are_read_and_deleted(index: Any) -> None:
    assert index["2"].text == "text 2"
    assert index._doc_exists("2")
    del index["2"]
    assert index.num_docs() == 3
    with pytest.raises(KeyError):
        _ = index["2"]


def test_words(index: Any) -> None:
    found, _ = index.text_search("text 3", search_field="text", limit=4)
    assert "text 3" in {each.text for each in found}


def test_a_directory(tmp_path: Path) -> None:
    index = Index(QdrantDocumentIndex.DBConfig(path=str(tmp_path / "db")))
    index.index(documents())
    index._client.close()
    again = Index(QdrantDocumentIndex.DBConfig(path=str(tmp_path / "db")))
    assert again.num_docs() == 4
    again._client.close()
