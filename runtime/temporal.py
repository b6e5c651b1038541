"""The connection to Temporal: data converter, search attributes, retention."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticPayloadConverter, pydantic_data_converter
from temporalio.service import RPCError

CALL_TIMEOUT = timedelta(seconds=10)


class LenientPayloadConverter(PydanticPayloadConverter):
    """Hands over what it cannot read as a RawValue, where no type is asked for.

    A workflow whose arguments do not parse would fail its task for ever, and a signal would be dropped: so the thread's
    handlers ask for no type and look for themselves.
    """

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        if type_hints:
            return super().from_payloads(payloads, type_hints)
        return [self._any(payload) for payload in payloads]

    def _any(self, payload: Payload) -> Any:
        try:
            return super().from_payloads([payload])[0]
        except (KeyError, RuntimeError, ValueError):
            return RawValue(payload)


DATA_CONVERTER = dataclasses.replace(pydantic_data_converter, payload_converter_class=LenientPayloadConverter)


async def connect(address: str, namespace: str, *, wait_s: float = 0.0) -> Client:
    """A client. Raises: RPCError or RuntimeError if there is no server after `wait_s` seconds."""
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            return await Client.connect(address, namespace=namespace, data_converter=DATA_CONVERTER)
        except (RPCError, RuntimeError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)


async def add_search_attributes(client: Client, names: Sequence[str]) -> None:
    """Register those that are missing. Raises: RPCError if the server does not let us."""
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace), timeout=CALL_TIMEOUT
    )
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    missing = {name: keyword for name in names if name not in listed.custom_attributes}
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing), timeout=CALL_TIMEOUT
        )


async def keep_closed_workflows(client: Client, days: int) -> None:
    """Set the namespace's retention."""
    retention = Duration()
    retention.FromTimedelta(timedelta(days=days))
    request = UpdateNamespaceRequest(
        namespace=client.namespace, config=NamespaceConfig(workflow_execution_retention_ttl=retention)
    )
    await client.workflow_service.update_namespace(request, timeout=CALL_TIMEOUT)
