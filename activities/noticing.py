"""Callbacks of documents: whoever named an address is told how the reading of a document ended.

It arrives at least once, under the same id each time. Once it is noted as delivered it is never sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from activities.delivery import CALL_TIMEOUT_S, retry_in_s
from activities.ports import KnowledgeStore, Webhooks
from domain import ids
from domain.errors import DeliveryFailedError, DeliveryRefusedError
from domain.knowledge import Document, DocumentEnd
from domain.messages import preview

AT_ONCE = 10
WITHIN_S = 86_400.0  # from the end of the document; then it is given up

log = structlog.get_logger()


class Callbacks:
    """activities.keeping.Chore over the ports it is given."""

    name = "knowledge callbacks"

    def __init__(self, store: KnowledgeStore, webhooks: Webhooks, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._webhooks = webhooks
        self._clock = clock

    async def due(self) -> int:
        return await self._store.count_noticed()

    async def work(self) -> int:
        documents = await self._store.noticed(self._clock(), AT_ONCE)
        await asyncio.gather(*map(self._tell, documents))
        return len(documents)

    async def _tell(self, document: Document) -> None:
        tries = document.notice_tries + 1
        try:
            await self._post(document)
        except DeliveryRefusedError as error:
            await self._note(document, "undeliverable", notice_tries=tries, notice_error=preview(str(error)))
        except DeliveryFailedError as error:
            now, ends = self._clock(), document.updated_at + WITHIN_S
            status = "due" if now < ends else "undeliverable"
            at = now + retry_in_s(error, document.id, tries)
            await self._note(document, status, notice_tries=tries, notice_at=at, notice_error=preview(str(error)))
        else:
            await self._note(document, "delivered", notice_tries=tries, notice_error=None)

    async def _note(self, document: Document, status: str, **fields: Any) -> None:
        await self._store.note_notice(document.id, {"notice": status} | fields)
        log.info("callback.tried", document=document.id, status=status, error=fields.get("notice_error"))

    async def _post(self, document: Document) -> None:
        fields = document.model_dump(include=set(DocumentEnd.model_fields) - {"at", "type"})
        told = DocumentEnd(**fields, at=document.updated_at)
        # Another end of the same document, tried again, is another message.
        message_id = ids.record_id("document", document.id, document.status, str(document.order))
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._webhooks.post(document.callback or "", message_id, told.model_dump_json().encode())
        except TimeoutError:
            raise DeliveryFailedError(f"no answer within {CALL_TIMEOUT_S:g} s") from None
