"""What activities need from the world. Adapters fit these shapes; nothing here connects to anything."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any, Protocol

from domain.agent import Agent
from domain.chunking import Section
from domain.context_record import ContextView
from domain.erasure import Erasing, ErasureReceipt, Forget, Part
from domain.events import Event, EventKind
from domain.knowledge import Chunk, Document, DocumentFilter, KnowledgeFound, KnowledgeQuery, KnowledgeScope
from domain.listing import ALL_THREADS, CallFilter, OwnerCount, ThreadFilter
from domain.mcp import McpServer, ServerResult, ServerTool
from domain.messages import Message, Page, ThreadRecord
from domain.model import Completion, ModelRequest, Piece
from domain.prompts import Prompt, ThreadStart
from domain.recall import Found, Indexed, IndexState, Recalled, RecallQuery, Scope
from domain.summaries import ThreadSummary
from domain.tokens import Counter
from domain.tooling import Asker
from domain.vectors import Embedded, Sparse, Vector
from domain.wishes import ChangeReceipt, InterruptReceipt, TurnReport


class Store(Protocol):
    """Messages and records. Every write is an insert that never overwrites, or an update that a fence may refuse.

    Only `get` gives rows whole; all others leave out `raw`, the provider's object, `mcp` and `context`.
    """

    async def insert(self, messages: Sequence[Message]) -> None:
        """Create the rows that do not exist yet; leave those that do as they are."""

    async def get(self, message_ids: Sequence[str]) -> list[Message]:
        """The rows that exist, in the order asked for."""

    async def amend(self, message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        """Change a row if it is pending and no later attempt holds it, and take hold of it; return the row as it is now.

        The caller won if the returned row has its `attempt`. Returns None if there is no such row: an update never
        brings back what was deleted.
        """

    async def reopen(self, message_id: str, attempt: int, changes: dict[str, Any]) -> Message | None:
        """Change a row if it is final and no later attempt holds it, and take hold of it; return the row as it is now.

        `changes` make it pending again. Returns None if there is no such row.
        """

    async def annotate(self, message_id: str, changes: dict[str, Any]) -> None:
        """Change fields of a row, whatever its status, that no turn writes (`delivery`); nothing if there is no such row."""

    async def history(self, thread: str, before_seq: int, limit: int) -> list[Message]:
        """The last `limit` ended rows before a place in the thread, oldest first, with what a context is made of."""

    async def page(self, thread: str, *, cursor: str | None, limit: int, newest_first: bool) -> Page[Message]:
        """Some of a thread's rows in order. Raises: InputRefusedError if the cursor is not one of ours."""

    async def open_prompts(self, thread: str | None, limit: int) -> list[Message]:
        """Prompts accepted but not ended, of one thread or of all, in order."""

    async def recent_prompts(self, thread: str, limit: int) -> list[Message]:
        """The last `limit` prompts of a thread that were not refused, oldest first."""

    async def waiting_calls(self, where: CallFilter, *, cursor: str | None, limit: int) -> Page[Message]:
        """The rows of calls that wait for somebody, the oldest first. Raises: InputRefusedError if the cursor is not one
        of ours.
        """

    async def insert_thread(self, record: ThreadRecord) -> ThreadRecord:
        """Create the record unless it exists; return the one that is there."""

    async def get_thread(self, thread: str) -> ThreadRecord | None: ...

    async def open_epoch(self, thread: str, epoch: int, run_id: str) -> ThreadRecord:
        """Make `epoch + 1` the thread's epoch, held by `run_id`, if it is still `epoch`; return what is there now."""

    async def end_turn(self, thread: str, turn: int, changes: dict[str, Any]) -> None:
        """Change the thread's record if no later turn has ended."""

    async def page_threads(
        self, where: ThreadFilter = ALL_THREADS, *, cursor: str | None, limit: int
    ) -> Page[ThreadRecord]:
        """Threads by last activity, newest first. Raises: InputRefusedError if the cursor is not one of ours."""

    async def page_owners(self, tenant: str | None, *, cursor: str | None, limit: int) -> Page[OwnerCount]:
        """Those who have or had threads, in no order, of one tenant or of all. Raises: as `page_threads`."""

    async def get_receipt(self, erasure: str) -> ErasureReceipt | None:
        """How far an erasure is, or what it did."""

    async def save_checkpoint(self, thread: str, epoch: int, turn: int, state: dict[str, Any]) -> None:
        """Keep the thread's private state unless a later one is kept."""

    async def load_checkpoint(self, thread: str) -> dict[str, Any] | None: ...


class MessageIndex(Protocol):
    """Search over the store's messages. What it knows of a message can be made anew from the message at any time."""

    async def state(self) -> IndexState | None: ...

    async def save_state(self, state: IndexState) -> None: ...

    async def add_model(self, name: str, dimensions: int) -> None:
        """Make room for the vectors of an embedding model. Raises: StoreError if it has some of another size."""

    async def drop_model(self, name: str) -> None: ...

    async def mark_old(self) -> None:
        """Make the rows due that a release wrote which knew no search."""

    async def due(self, limit: int) -> list[Message]:
        """Ended rows that are not in the index yet, the oldest first."""

    async def count_due(self) -> int: ...

    async def count_done(self) -> int: ...

    async def put(self, entries: Sequence[Indexed]) -> None:
        """Set their vectors, and note that they are in the index; one that has changed meanwhile stays due.

        Those that are deleted by now are left out.
        """

    async def load(self, rows: Sequence[Message], entries: Sequence[Indexed]) -> None:
        """Store rows that do not exist yet, with vectors made elsewhere, one entry for each row: for bulk imports."""

    async def place(self, entries: Sequence[Indexed]) -> None:
        """Set their vectors and note nothing."""

    async def walk(self, after: str | None, limit: int) -> list[Message]:
        """The rows of the index by id, behind `after`: each that is there now comes once."""

    async def last_place(self, thread: str, before_seq: int) -> int | None:
        """The place of the last message of the index before a row of its thread. Returns None if there is none."""

    async def search(self, vector: str, query: Vector, scope: Scope, limit: int) -> list[Found]:
        """The nearest by one vector, best first. How rare a word is, is taken from the scope alone."""

    async def count(self, scope: Scope) -> int: ...

    async def worth(self, numbers: Sequence[int], scope: Scope) -> dict[int, float]:
        """How rare words are in a scope, by their number in the lexicon; those that no message has are left out."""

    async def beside(self, places: Collection[tuple[str, int]], scope: Scope) -> list[Found]:
        """The messages at places, pairs of thread and place."""

    async def rows(self, message_ids: Sequence[str]) -> list[Message]:
        """Those that exist, in the order asked for, without what is never listed."""

    async def turns(self, turns: Collection[tuple[str, int]], limit: int) -> list[Message]:
        """The ended rows of turns, pairs of thread and number, in order."""


class KnowledgeStore(Protocol):
    """Documents and their chunks, see domain.knowledge. All but `search` and `delete` may be repeated without harm.

    What is found by `search` is of the versions that are in force, one for each key at any moment.
    """

    async def add(self, document: Document) -> tuple[Document, bool]:
        """Keep a document that is to be read, and say whether it is new: not if the same is there, or waits, already.

        One that failed is tried again. Returns what is there now, with its id.
        """

    async def document(self, document_id: str) -> Document | None: ...

    async def in_force(self, tenant: str, namespace: str, key: str) -> Document | None:
        """The version that search finds."""

    async def page(self, where: DocumentFilter, *, cursor: str | None, limit: int) -> Page[Document]:
        """Documents by when they were added, newest first. Raises: InputRefusedError if the cursor is not one of ours."""

    async def count(self, where: DocumentFilter) -> int: ...

    async def pending(self, limit: int) -> list[Document]:
        """Documents of all tenants that are to be read, the oldest first."""

    async def count_pending(self) -> int: ...

    async def note(self, document_id: str, changes: dict[str, Any]) -> None:
        """Change a document that is pending; nothing if it is not, or is deleted."""

    async def put(self, chunks: Sequence[Chunk], vectors: Sequence[dict[str, Vector]]) -> None:
        """Write chunks that search does not find yet; those that are there stay as they are."""

    async def chunk_ids(self, document_id: str) -> set[str]: ...

    async def drop(self, chunk_ids: Sequence[str]) -> None: ...

    async def finish(self, document: Document, changes: dict[str, Any]) -> Document | None:
        """Put a document whose chunks are all written in force, in the place of an earlier version; note the changes.

        If a later version is in force, this one is `replaced` instead. Returns None, and leaves no chunks, if it was
        deleted. Between any two of its writes search finds either the version before or this one.
        """

    async def delete(self, where: DocumentFilter) -> int:
        """Delete documents with their chunks, of one namespace, or key; returns how many there were."""

    async def delete_document(self, document: Document) -> None: ...

    async def holds(self, digest: str) -> bool:
        """Whether some document, of whatever tenant and state, has this content: its blob is not to be deleted then."""

    async def sweep(self, limit: int) -> int:
        """Delete chunks that a deleted document's reader wrote behind the delete; returns how many."""

    async def search(self, vector: str, query: Vector, scope: KnowledgeScope, limit: int) -> list[tuple[Chunk, float]]:
        """The nearest chunks by one vector, best first."""

    async def worth(self, numbers: Sequence[int], scope: KnowledgeScope) -> dict[int, float]:
        """How rare words are in a scope, by their number in the lexicon; those that no chunk has are left out."""

    async def similar(self, vector: str, query: Vector, chunk_ids: Sequence[str]) -> dict[str, float]:
        """How near these are, by id; those without such a vector are left out."""

    async def around(self, document_id: str, first: int, last: int) -> list[Chunk]:
        """The chunks of these places, in order."""

    async def add_model(self, name: str, dimensions: int) -> None:
        """Make room for the vectors of an embedding model. Raises: StoreError if it has some of another size."""

    async def drop_model(self, name: str) -> None:
        """Forget the vectors of an embedding model; nothing if there are none."""

    async def unembedded(self, model: str, limit: int) -> list[Chunk]:
        """Chunks in force without vectors of the model."""

    async def count_unembedded(self, model: str) -> int: ...

    async def embed(self, model: str, vectors: dict[str, Vector]) -> None:
        """Set the vectors of chunks, by id, and note it; those that are deleted by now are left out."""

    async def noticed(self, before: float, limit: int) -> list[Document]:
        """Documents whose callback is due."""

    async def count_noticed(self) -> int: ...

    async def note_notice(self, document_id: str, changes: dict[str, Any]) -> None:
        """Change what became of a callback that is due."""


class KnowledgeSearch(Protocol):
    """Search over documents, by meaning and by words."""

    async def search(self, query: KnowledgeQuery) -> KnowledgeFound:
        """The best chunks. Without vectors of the query, by words alone, and `note` says so."""


class DocumentReader(Protocol):
    """The text of documents."""

    async def read(self, media: str, content: bytes) -> Sequence[Section]:
        """In order. Raises: DocumentUnreadableError in a sentence, also if it would take too long."""


class Recalls(Protocol):
    """Search by what something is about."""

    async def recall(self, query: RecallQuery) -> Recalled:
        """The best hits, best first. If there is no vector of the text, the words alone are searched, and `note` says so."""


class Embedder(Protocol):
    """Texts into vectors of one model."""

    @property
    def name(self) -> str:
        """The model's and its dimensions': what its vectors are named in the store."""

    @property
    def dimensions(self) -> int: ...

    @property
    def longest(self) -> int:
        """Characters of a text that it takes; see domain.pieces for longer ones."""

    async def embed(
        self, texts: Sequence[str], *, query: bool = False, weights: Mapping[str, float] | None = None
    ) -> Embedded:
        """One vector for each text, none of which is blank or longer than `longest`.

        `weights` say what words of a query are worth, by the word as it is written; a model may have no use for them.

        Raises: ModelUnavailableError if the same call may succeed later; ModelRefusedError if not.
        """


class Lexicon(Protocol):
    """Texts into the words that they are found by, whatever their language."""

    def document(self, text: str) -> Sparse: ...

    def query(self, text: str) -> Sparse: ...

    def telling(self, text: str) -> list[tuple[str, int]]:
        """The words of the query as they are written, each with its number in vectors."""


class ContextLook(Protocol):
    """Contexts of model calls that are not made."""

    async def look(self, thread: str, text: str, agent: str | None = None) -> ContextView:
        """What the model would be shown if the text were said on the thread now.

        Raises: UnknownThreadError, UnknownAgentError, HookError.
        """


class Summaries(Protocol):
    """Summaries of threads, and the turns that they are made of."""

    async def due(self, limit: int) -> list[ThreadRecord]:
        """Threads whose older turns are to be summarised, those that wait longest first."""

    async def count_due(self) -> int: ...

    async def get(self, thread: str) -> ThreadSummary | None: ...

    async def put(self, summary: ThreadSummary, after: int) -> ThreadSummary:
        """Save it if the one that is there is of the turns up to `after`, 0 if there is none; return what is there now."""

    async def settle(self, record: ThreadRecord, through_turn: int) -> None:
        """The thread's summary is of the turns up to this one; it is not due any longer, unless it became so meanwhile."""

    async def turns(self, thread: str, first: int, last: int, limit: int) -> list[Message]:
        """The ended rows of some turns, in order, with what a context is made of."""

    async def forget(self, thread: str) -> None:
        """Delete the summary."""


class TokenCounter(Protocol):
    """How many tokens texts take."""

    def counter(self, model: str | None) -> Counter:
        """For a model by its name, as near as is known; None is the model of the settings."""


class EventLog(Protocol):
    """Live events of threads, see domain.events."""

    async def publish(self, thread: str, kind: EventKind, data: dict[str, Any]) -> None: ...

    def follow(self, thread: str, after: str | None = None) -> AsyncGenerator[Event, None]:
        """Events as they come, for ever; a `snapshot` first unless `after` can be continued without a gap."""

    async def forget(self, thread: str) -> None:
        """Keep nothing of what was published so far, but of what streams right now."""


class Blobs(Protocol):
    """What is too large for a row, by the hash of its content."""

    async def put(self, content: bytes) -> str:
        """Keep it; return its name, the same for the same content. Raises: OSError, UnavailableError."""

    async def get(self, ref: str) -> bytes | None:
        """Returns None if nothing of that name is kept."""

    async def delete(self, ref: str, unused_s: float = 0.0) -> bool:
        """Delete it unless somebody has put it within the last `unused_s` seconds; returns whether it is gone."""


class Eraser(Protocol):
    """Forgets what one collection has of people and threads. What it does not know by some field of a part it has not."""

    @property
    def name(self) -> str:
        """What a receipt calls the collection."""

    async def count(self, part: Part) -> int: ...

    async def found(self, part: Part) -> int:
        """Rows that a search finds, one at most for each kind of vector."""

    async def page(self, part: Part, limit: int) -> list[str]:
        """The ids of some rows of it."""

    async def there(self, row_ids: Sequence[str]) -> int:
        """How many of these rows exist."""

    async def delete(self, row_ids: Sequence[str]) -> None: ...


class Graves(Protocol):
    """Deleted threads, the messages on the way there, and the receipts."""

    @property
    def erasers(self) -> Sequence[Eraser]:
        """Of all collections, that of the messages first."""

    async def bury(self, thread: str, erasure: str, now: float) -> bool:
        """Put a tombstone in the place of the thread's record, or where there is none; whether it was not there before."""

    async def living(self, person: Part, after: str | None, limit: int) -> list[tuple[str, ThreadRecord]]:
        """Threads that are not deleted, with the ids of their records, in the order of these."""

    async def buried(self, erasure: str, after: str | None, limit: int) -> list[tuple[str, str]]:
        """The ids of tombstones of an erasure, in order, and their threads."""

    async def unname(self, erasure: str) -> None:
        """Take the names of owner and tenant from the tombstones of an erasure."""

    async def messages(self, part: Part, after: str | None, limit: int) -> list[Message]:
        """Some rows in the order of their ids."""

    async def refs_of(self, collection: str, row_ids: Sequence[str]) -> list[str]:
        """The blobs that rows name; `collection` is the name of an eraser."""

    async def users_of(self, ref: str, besides: Sequence[str]) -> int:
        """How many rows of any collection, besides these, name a blob."""

    async def show(self, thread: str, before: str, preview: str) -> None:
        """Change what the list of threads shows of one, if it still shows what it did."""

    async def drop_checkpoint(self, thread: str) -> None: ...

    async def drop_summary(self, thread: str) -> None:
        """Of what was said on a thread that lives on, some of which is erased; another is made of the rest."""

    async def note(self, erasing: Erasing) -> None: ...

    async def noted(self, erasure: str) -> Erasing | None: ...


class Runs(Protocol):
    """The workflows of threads."""

    async def end(self, thread: str) -> None:
        """End its run, if it has one; what it was doing is given up. Raises: UnavailableError."""

    async def forget(self, thread: str, wanted: Forget) -> list[str]:
        """Make the thread itself forget turns; returns the prompts of those that have not ended.

        Raises: InputRefusedError if it cannot be opened; UnavailableError.
        """

    async def histories(self, thread: str) -> list[str]:
        """The ids of its runs that Temporal keeps. Raises: UnavailableError."""

    async def drop_history(self, thread: str, run_id: str) -> None:
        """Have Temporal delete the history of an ended run, which it does in a moment. Raises: UnavailableError."""

    async def retention_days(self) -> float:
        """For how long Temporal keeps an ended run. Raises: UnavailableError."""


class ChatModel(Protocol):
    """A chat model behind an OpenAI-compatible endpoint."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[Piece | Completion, None]:
        """Pieces as they come, of which the texts are the completion's text, then exactly one Completion.

        Closing the generator ends the call.

        Raises: ModelUnavailableError if the same call may succeed later; ModelRefusedError if not.
        """


class Catalog(Protocol):
    """The agents a user has defined."""

    @property
    def default(self) -> str:
        """The agent of threads that name none."""

    async def agent(self, name: str, asker: Asker | None = None) -> Agent:
        """The agent as it is for whoever asks.

        Raises: UnknownAgentError if there is none of that name; HookError if it cannot be built.
        """

    def names(self) -> list[str]: ...


class Agents(Protocol):
    """Other threads, on which agents are asked. Each call is safe to repeat with the same prompt id."""

    async def ask(
        self, thread: str, prompt: Prompt, start: ThreadStart | None = None, *, timeout_s: float = 600.0
    ) -> TurnReport:
        """Send a prompt and wait for the end of its turn.

        Raises: InputRefusedError if the thread does not take it; TimeoutError, and then the prompt is kept and goes on.
        """

    async def interrupt(
        self, thread: str, *, turn: int | None = None, prompt_id: str | None = None, reason: str | None = None
    ) -> InterruptReceipt:
        """Stop the turn of a prompt, if it runs. Raises: UnavailableError if the thread does not run or cannot be asked."""

    async def withdraw(self, thread: str, prompt_id: str) -> ChangeReceipt:
        """Take back a prompt that waits. Raises: UnknownPromptError if it does not."""


class ToolServers(Protocol):
    """Servers that speak the Model Context Protocol."""

    async def tools(self, server: McpServer) -> list[ServerTool]:
        """What the server offers now. Raises: ServerAwayError if it cannot be asked, or does not answer in time."""

    async def call(self, server: McpServer, tool: str, arguments: dict[str, Any]) -> ServerResult:
        """What the tool gives; takes as long as it takes, and is given up by cancelling it.

        Raises: ServerAwayError if nothing has happened; ServerLostError if something may have; ToolError with the
        server's own words if it refuses.
        """


class Webhooks(Protocol):
    """Posts to the web addresses of others, signed so that they know who sent it."""

    async def post(self, url: str, message_id: str, body: bytes) -> None:
        """Post JSON; the same `message_id` is the same message.

        Raises: DeliveryFailedError if a later try may do; DeliveryRefusedError if not.
        """
