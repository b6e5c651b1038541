"""Facts on the embedded store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.qdrant_edge import EdgeStore
from tests.adapters.facts_contract import FactsContract


@pytest.fixture(scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EdgeStore]:
    store = EdgeStore(tmp_path_factory.mktemp("facts"))
    yield store
    store.close()


class TestEdgeFacts(FactsContract):
    """On disk, in this process."""
