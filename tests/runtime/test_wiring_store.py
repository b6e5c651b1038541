"""The store and the worker that the settings describe; what they lack is said before anything is connected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.qdrant_edge import EdgeStore
from domain.errors import SetupError
from runtime import wiring
from runtime.settings import Settings


def settings(folder: Path, **fields: Any) -> Settings:
    known = {"data_dir": folder, "openai_api_key": "", "openai_base_url": None, "qdrant_url": None}
    return Settings.model_validate(known | fields)


async def test_a_worker_without_a_model_is_told_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="set OPENAI_API_KEY or OPENAI_BASE_URL"):
        async with wiring.working(settings(tmp_path)):
            pass


async def test_the_store_is_embedded_unless_there_is_a_server(tmp_path: Path) -> None:
    found = settings(tmp_path)
    async with wiring.open_store(found) as store:
        assert isinstance(store, EdgeStore)
    EdgeStore(tmp_path / "store").close()  # it has let go of it
    assert wiring.describe_store(found) == f"{tmp_path / 'store'} · Qdrant Edge, embedded"


async def test_an_address_of_a_server_that_is_none_is_said_at_once(tmp_path: Path) -> None:
    found = settings(tmp_path, qdrant_url="qdrant:6333")
    with pytest.raises(SetupError, match="EVERTHREAD_QDRANT_URL is not an address"):
        async with wiring.open_store(found):
            pass
    assert wiring.describe_store(found) == "qdrant:6333 · Qdrant server"
