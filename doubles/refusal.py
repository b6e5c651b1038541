"""A request that a real provider would refuse."""

from __future__ import annotations

from doubles.replies import Reply, ReplyError


class RefusedError(Exception):
    """The request is refused; `reply` is the provider's answer to it."""

    def __init__(self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        error = ReplyError(message=message, type="invalid_request_error", code=code, param=param)
        self.reply = Reply(status=status, error=error)
