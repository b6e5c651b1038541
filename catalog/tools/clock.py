"""What time it is."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from catalog.tool import tool


@tool(effect="read")
def current_time(timezone: str = "UTC") -> str:
    """Tell the current date and time.

    Args:
        timezone: IANA name of the time zone, such as Europe/Zurich.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{timezone!r} is not an IANA time zone such as Europe/Zurich") from None
    return datetime.now(UTC).astimezone(zone).strftime("%A, %d %B %Y, %H:%M:%S %Z")
