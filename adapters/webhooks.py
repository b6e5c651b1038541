"""Posts signed as Standard Webhooks says, to addresses that anybody may have named.

Reference: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx2

from adapters.openai_errors import retry_after_s
from domain.errors import DeliveryFailedError, DeliveryRefusedError
from domain.messages import preview

TIMEOUT_S = 10.0
LONGEST_WAIT_S = 86_400.0
GONE = 410
_NAT64 = IPv6Network("64:ff9b::/96")  # an IPv4 address is behind it, and may be a private one


class SignedWebhooks:
    """activities.ports.Webhooks. Without a `key` it posts nothing; `private` allows this machine and private networks.

    The address that was checked is the one that is connected to, whatever the name means a moment later. Redirects are
    not followed, proxies of the environment not used.
    """

    def __init__(
        self,
        key: bytes | None = None,
        *,
        private: bool = False,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._private = private
        self._timeout_s = timeout_s
        self._clock = clock
        self._http = _client() if key else None

    async def post(self, url: str, message_id: str, body: bytes) -> None:
        """See the port. Takes `timeout_s` at the most."""
        if self._key is None or self._http is None:
            raise DeliveryRefusedError("replies to web addresses are not set up: set EVERTHREAD_WEBHOOK_SECRET")
        target = _parse(url)
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._send(self._http, target, self._headers(self._key, message_id, body), body)
        except TimeoutError:
            raise DeliveryFailedError(f"{target.host} did not answer within {self._timeout_s:g} s") from None
        self._judge(target.host, response)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    def _headers(self, key: bytes, message_id: str, body: bytes) -> dict[str, str]:
        now = int(self._clock())
        return {
            "content-type": "application/json",
            "user-agent": "Everthread",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(key, message_id, now, body),
        }

    async def _send(
        self, http: httpx2.AsyncClient, target: httpx2.URL, headers: dict[str, str], body: bytes
    ) -> httpx2.Response:
        """The answer's status and headers, of the first address that takes a connection."""
        name = target.raw_host.decode("ascii")
        headers |= {"host": target.netloc.decode("ascii")}
        problem: Exception | None = None
        for address in await self._addresses(name, target.port or (443 if target.scheme == "https" else 80)):
            pinned = target.copy_with(host=address)
            request = http.build_request("POST", pinned, content=body, headers=headers)
            request.extensions["sni_hostname"] = name  # whose certificate is asked for and checked
            try:
                response = await http.send(request, stream=True)
                await response.aclose()  # nobody reads what it says, however long
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                problem = error
            except httpx2.HTTPError as error:
                raise DeliveryFailedError(_words(name, error)) from error
            else:
                return response
        raise DeliveryFailedError(_words(name, problem)) from problem

    async def _addresses(self, name: str, port: int) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise DeliveryFailedError(f"{name} cannot be resolved: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [address for address in addresses if self._private or is_public(address)]
        if not allowed:
            raise DeliveryRefusedError(
                f"{name} is {', '.join(addresses[:3])}, which is not on the public internet; "
                "EVERTHREAD_WEBHOOK_PRIVATE=true allows it"
            )
        return allowed

    def _judge(self, host: str, response: httpx2.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        if status == GONE:
            raise DeliveryRefusedError(f"{host} answered 410: it wants no more of these")
        why = ", a redirect, which is not followed" if response.is_redirect else ""
        wait_s = retry_after_s(response.headers, self._clock(), longest_s=LONGEST_WAIT_S)
        raise DeliveryFailedError(f"{host} answered {status}{why}", wait_s)


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`; `timestamp` in seconds since 1970."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet, also behind the forms that wrap an IPv4 address."""
    found: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(found, IPv6Address):
        wrapped = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if found in _NAT64:
            wrapped = IPv4Address(int(found) & 0xFFFFFFFF)
        found = wrapped or found
    return found.is_global and not (found.is_multicast or found.is_reserved)


def _client() -> httpx2.AsyncClient:
    # Connections are not kept: one to the same address may have been made under another name.
    limits = httpx2.Limits(max_keepalive_connections=0)
    return httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=None, limits=limits)


def _parse(url: str) -> httpx2.URL:
    try:
        target = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise DeliveryRefusedError(f"the url of reply_to cannot be used: {error}") from error
    if target.scheme not in {"http", "https"} or not target.host:
        raise DeliveryRefusedError("the url of reply_to cannot be used: it is not http or https with a host")
    return target


def _words(name: str, error: Exception | None) -> str:
    return preview(f"{name} cannot be reached: {str(error or '') or type(error).__name__}")
