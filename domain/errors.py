"""The errors that cross layers. (Those of one program's start are where they are raised.)

EverthreadError
├── InputRefusedError            what was sent cannot be accepted; says the field, the value, the rule, the remedy
│   ├── PromptConflictError      the id was used before for another text
│   ├── InboxFullError           too much is waiting already; retry when some of it is answered
│   ├── ThreadBusyError          the prompt was to be rejected if the thread is busy, and it is
│   ├── UnknownThreadError       the thread was not to be started, and there is none
│   ├── UnknownPromptError       no prompt of that id waits, runs or has ended on the thread
│   ├── UnknownCallError         no tool call of that id waits on the thread, or not with these arguments
│   └── ResolvedAlreadyError     the tool call was decided before
├── UnknownAgentError            no agent of that name in the catalog
├── HookError                    a hook of an agent, or what builds it, raised or returned what cannot be used
├── ToolError                    a tool could not do it; raised by tools, in words that the model reads as they are
├── ToolFailedError              a tool failed and is to be tried again
├── ModelError                   a model call failed
│   ├── ModelRefusedError        for good: the same call would fail again
│   │   ├── ContextTooLongError  the model cannot take so much at once
│   │   ├── ImagesRefusedError   the model cannot see images
│   │   ├── QuotaSpentError      the account at the provider is empty
│   │   ├── ThoughtsRefusedError the model does not take back what was thought in an earlier step
│   │   └── FormatRefusedError   the model cannot be held to a form of its answer
│   ├── OutputInvalidError       the answer is not what it was to be, also after a second try
│   └── ModelUnavailableError    for now: the same call may succeed later
├── NotAnsweredError             a turn that was waited for ended without an answer
├── ToolServerError              an MCP server did not do what was asked
│   ├── ServerAwayError          it cannot be reached, and nothing has happened
│   └── ServerLostError          it was lost in a call, which may or may not have happened
├── DeliveryError                a reply did not reach its address
│   ├── DeliveryRefusedError     for good: no further try will do
│   └── DeliveryFailedError      for now: a later try may do
├── DocumentUnreadableError      a document cannot be read, now or later; says why in a sentence
├── StoreError                   the store could not do it
│   └── StoreBusyError           another process owns the embedded store
├── NotVisibleYetError           a record that must be there is not; retry instead of repairing
├── UnavailableError             a service of ours does not answer; what was asked may or may not have happened
├── SupersededError              another attempt of the same step owns the record now
└── SetupError                   the program cannot start; says the remedy in one line
"""

from __future__ import annotations


class EverthreadError(Exception):
    """The root of the tree above."""


class InputRefusedError(EverthreadError):
    """What was sent cannot be accepted."""


class PromptConflictError(InputRefusedError):
    """The prompt id was used before for another text."""


class InboxFullError(InputRefusedError):
    """The thread has as much waiting as it may hold."""


class ThreadBusyError(InputRefusedError):
    """The thread is busy, and the prompt was not to wait."""


class UnknownThreadError(InputRefusedError):
    """There is no such thread, and it was not to be started."""


class UnknownPromptError(InputRefusedError):
    """The thread knows no such prompt, or it is not in a state in which this can be done with it."""


class UnknownCallError(InputRefusedError):
    """No call of that id waits on the thread, or its arguments are not those that were decided about."""


class ResolvedAlreadyError(InputRefusedError):
    """The call was decided before; the text says how and by whom."""


class UnknownAgentError(EverthreadError):
    """No agent of that name is in the catalog."""


class HookError(EverthreadError):
    """A hook of an agent, or what builds it, raised or returned what cannot be used; the text names both."""


class ToolError(EverthreadError):
    """A tool could not do what it was asked, and trying again would not help: the model reads the text as it is."""


class ToolFailedError(EverthreadError):
    """A tool failed and is to be tried again."""


class ModelError(EverthreadError):
    """A model call failed; the text is the provider's own sentence where it gave one."""


class ModelRefusedError(ModelError):
    """The provider refused for good: the same call would fail again."""


class ContextTooLongError(ModelRefusedError):
    """The model cannot take so much at once."""


class ImagesRefusedError(ModelRefusedError):
    """The model cannot see images, and was shown one."""


class QuotaSpentError(ModelRefusedError):
    """The account at the provider is empty: waiting does not help, another provider may."""


class ThoughtsRefusedError(ModelRefusedError):
    """The model does not take back what it, or another one, thought in an earlier step of the turn."""


class FormatRefusedError(ModelRefusedError):
    """The model cannot be held to the form that the answer was to have."""


class OutputInvalidError(ModelError):
    """The answer is not what it was to be, and its repair was not either; the text says why."""


class ModelUnavailableError(ModelError):
    """The provider could not answer now.

    `retry_after_s` is the number of seconds it asked to wait, or None.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotAnsweredError(EverthreadError):
    """The turn ended otherwise: `status` says how, see domain.wishes.TurnReport."""

    def __init__(self, message: str, status: str = "failed") -> None:
        super().__init__(message)
        self.status = status


class ToolServerError(EverthreadError):
    """An MCP server did not do what was asked; the text says why, in words for the model."""


class ServerAwayError(ToolServerError):
    """The server cannot be reached: nothing has happened."""


class ServerLostError(ToolServerError):
    """The server was lost in a call: it may or may not have happened."""


class DeliveryError(EverthreadError):
    """A reply did not reach its address."""


class DeliveryRefusedError(DeliveryError):
    """The address takes it neither now nor later."""


class DeliveryFailedError(DeliveryError):
    """The address did not take it now.

    `retry_after_s` is the number of seconds it asked to wait, or None.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DocumentUnreadableError(EverthreadError):
    """A document has no text that can be read."""


class StoreError(EverthreadError):
    """The store could not do what was asked."""


class StoreBusyError(StoreError):
    """Another process owns the embedded store."""


class NotVisibleYetError(EverthreadError):
    """A record that an earlier step wrote does not show yet."""


class UnavailableError(EverthreadError):
    """A service of ours does not answer; what was asked may or may not have happened."""


class SupersededError(EverthreadError):
    """Another attempt of the same step owns the record now."""


class SetupError(EverthreadError):
    """The program cannot start as it is set up."""
