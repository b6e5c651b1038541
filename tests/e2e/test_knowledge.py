"""Documents in the program that runs everything: handed in over HTTP, read by the background work, found."""

from __future__ import annotations

import httpx

from tests.e2e.driver import Everthread, until


async def test_a_document_is_read_in_the_background_and_found(running: Everthread) -> None:
    path = f"{running.url}/api/knowledge/handbook/documents"
    text = "# Holidays\n\nEverybody has thirty days of holidays.\n\n# Parking\n\nCars stand behind the house."
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(path, json={"key": "rules.md", "text": text})
        foreign = await http.post(path, json={"text": "x"}, headers={"origin": "https://evil.example"})
    assert (answer.status_code, foreign.status_code) == (202, 403)
    document = answer.json()["id"]

    async def ready() -> bool:
        return bool((await running.get(f"/api/knowledge/handbook/documents/{document}")).json()["status"] == "ready")

    await until(ready, 15, "the document is ready")
    found = (await running.get("/api/knowledge/handbook/search?q=where+do+cars+park&limit=1")).json()
    assert found["hits"][0]["chunk"]["headings"] == ["Parking"]
    assert found["note"] == ""
    assert found["model"]
