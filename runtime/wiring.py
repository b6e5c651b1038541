"""Builds the system from settings: adapters into ports, ports into activities, activities into a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion, WorkflowIDConflictPolicy
from temporalio.service import RPCError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    PollerBehaviorAutoscaling,
    Worker,
    WorkerDeploymentConfig,
)

from activities.calling import Estimates
from activities.closing import ClosingActivities
from activities.compaction import Compaction
from activities.delegation import Delegations
from activities.delivery import DeliveryActivities
from activities.erasing import ErasingActivities
from activities.keeping import Chore, KeepingActivities
from activities.library import Knowledge
from activities.looking import ContextLooks
from activities.memory import Memory
from activities.model import ModelActivities
from activities.notebook import Notebook
from activities.operating import OperatingActivities
from activities.ports import (
    Blobs,
    Catalog,
    ChatModel,
    Embedder,
    EventLog,
    Graves,
    Lexicon,
    Store,
    Summaries,
    TokenCounter,
    ToolServers,
    Webhooks,
)
from activities.reopening import ReopeningActivities
from activities.servers import NoServers
from activities.threads import ThreadActivities
from activities.tools import ToolActivities
from adapters import embedders
from adapters.blobs import FolderBlobs
from adapters.documents import Documents
from adapters.embedders import Endpoint, OpenEmbedder
from adapters.lexicon import WordLexicon
from adapters.mcp_servers import McpServers
from adapters.model_router import ModelRouter
from adapters.openai_chat import OpenAIChat, Timeouts
from adapters.openai_errors import SettingNames
from adapters.qdrant_edge import EdgeStore
from adapters.qdrant_erasing import QdrantGraves
from adapters.qdrant_facts import QdrantFacts, QdrantLessons, QdrantNotes
from adapters.qdrant_index import QdrantIndex
from adapters.qdrant_knowledge import QdrantKnowledge
from adapters.qdrant_points import CHUNKS, FACTS, MESSAGES, RECORDS
from adapters.qdrant_store import QdrantStore
from adapters.qdrant_summaries import QdrantSummaries
from adapters.static_embed import NAME as BUNDLED
from adapters.streams_memory import MemoryEvents
from adapters.tokens import OpenAITokens
from adapters.webhooks import SignedWebhooks
from catalog.live import LiveCatalog, discover
from client.erasing import ThreadRuns
from client.threads import Threads
from domain import keeping
from domain.errors import ModelError, ModelRefusedError, ModelUnavailableError, SetupError, UnavailableError
from domain.messages import preview
from runtime import leash, temporal
from runtime.embedding_choice import EmbeddingChoice, EmbeddingEndpoint, choose_embedding, embedding_endpoints
from runtime.loop_lag import watch_lag
from runtime.model_choice import ModelChoice, choose_model, provider_of
from runtime.settings import Settings, variable, webhook_key
from workflows import attributes
from workflows.erase import Erase
from workflows.memory import KeepMemory
from workflows.thread import AgentThread

# An interrupt or a lost lease is heard within this time; a shorter one halves the throughput of the server.
HEARTBEAT_THROTTLE = timedelta(milliseconds=750)
STICKY_TIMEOUT = timedelta(seconds=2)  # so long does an idle thread wait for a worker that is gone
GRACE_S = 60.0  # for tools that write; model calls end at once, see activities.lease
# Beyond it they wait at the server, where their time does not run: a worker that takes over many threads at once would be
# late with each, and begin all of them anew for ever. One process computes one at a time anyway.
WORKFLOW_TASKS = 4
PROBE_TRIES = 3
CONNECT_S = 30.0
# Else the SDK reads all that is loaded to make one up, which takes up to a second of each start.
BUILD_ID = "everthread"

log = structlog.get_logger()


@dataclass(frozen=True)
class Ports:
    """What activities need from the world, see activities.ports."""

    store: Store
    events: EventLog
    model: ChatModel
    catalog: Catalog
    context_tokens: int
    webhooks: Webhooks = field(default_factory=SignedWebhooks)  # without a key: they are refused
    blobs: Blobs | None = None  # without: long results are cut
    servers: ToolServers = field(default_factory=NoServers)
    tokens: TokenCounter = field(default_factory=Estimates)
    memory: Memory | None = None  # without: nothing is recalled
    knowledge: Knowledge | None = None  # without: agents look nothing up
    summaries: Summaries | None = None  # without: older turns that do not fit are just not shown
    notebook: Notebook | None = None  # without: the tools of the memory say that there is none


class _Worker(Worker):
    """Its background work ends first, which goes on for minutes else."""

    def __init__(self, background: KeepingActivities, client: Client, **options: Any) -> None:
        super().__init__(client, **options)
        self._background = background

    async def shutdown(self) -> None:
        self._background.stop()
        await super().shutdown()


def make_worker(
    client: Client,
    task_queue: str,
    ports: Ports,
    *,
    max_activities: int = 200,
    grace_s: float = GRACE_S,
    queues: bool = True,
    **options: Any,
) -> Worker:
    """A worker of the thread workflow and its activities. `options` are further ones of temporalio.worker.Worker.

    Without `queues` it runs the tools of every queue, since no other worker can.
    """
    if "deployment_config" not in options:
        options["build_id"] = BUILD_ID
    background = KeepingActivities(make_chores(ports))
    return _Worker(
        background,
        client,
        task_queue=task_queue,
        workflows=[AgentThread, Erase, KeepMemory],
        activities=[
            *_activities(client, task_queue, ports, max_activities, queues=queues),
            background.keep_memory,
        ],
        interceptors=[LogContext()],
        max_concurrent_activities=max_activities,
        max_concurrent_workflow_tasks=WORKFLOW_TASKS,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(minimum=2, initial=5, maximum=20),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(minimum=2, initial=5, maximum=20),
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        graceful_shutdown_timeout=timedelta(seconds=grace_s),
        **options,
    )


def _activities(client: Client, task_queue: str, ports: Ports, most: int, *, queues: bool) -> list[Callable[..., Any]]:
    """All that the workflow calls, of which a worker runs `most` at once."""
    model = ModelActivities(
        ports.store,
        ports.events,
        ports.model,
        ports.catalog,
        budget_tokens=ports.context_tokens,
        tokens=ports.tokens,
        memory=ports.memory,
        summaries=ports.summaries,
        servers=ports.servers,
        knowledge=ports.knowledge.search if ports.knowledge else None,
        remembering=ports.notebook.remembering if ports.notebook else None,
        queues=queues,
    )
    agents = Threads(client, task_queue, ports.catalog.default)
    delegations = Delegations(ports.store, ports.events, ports.catalog, agents, max_activities=most)
    tools = ToolActivities(
        ports.store,
        ports.events,
        ports.catalog,
        delegations,
        ports.blobs,
        servers=ports.servers,
        knowledge=ports.knowledge.search if ports.knowledge else None,
        remembering=ports.notebook.remembering if ports.notebook else None,
    )
    threads = ThreadActivities(ports.store, ports.catalog)
    closing, reopening = ClosingActivities(ports.store, ports.events, agents), ReopeningActivities(ports.store)
    operating = OperatingActivities(ports.store, ports.events)
    delivery = DeliveryActivities(ports.store, ports.webhooks, client)
    erasing = ErasingActivities(ports.store, _graves(ports), ThreadRuns(agents), ports.events, ports.blobs)
    return [
        model.call_model,
        tools.run_tool,
        threads.open_thread,
        threads.save_prompts,
        closing.close_turn,
        reopening.reopen_turn,
        threads.save_checkpoint,
        threads.find_turn,
        delivery.deliver,
        delivery.notify,
        operating.note_operator,
        operating.save_said,
        erasing.begin_erasure,
        erasing.bury_threads,
        erasing.end_threads,
        erasing.erase_turns,
        erasing.erase_rows,
        erasing.verify_erasure,
        erasing.end_erasure,
    ]


def make_looks(ports: Ports) -> ContextLooks:
    """Contexts to be looked at, as the worker's model calls have them."""
    knowledge = ports.knowledge.search if ports.knowledge else None
    remembering = ports.notebook.remembering if ports.notebook else None
    kept = (ports.memory, ports.summaries, knowledge, remembering)
    return ContextLooks(ports.store, ports.catalog, ports.context_tokens, ports.tokens, *kept)


def _graves(ports: Ports) -> Graves:
    """Of the store; a search by the embedding model's vectors shows whether it is empty of what was erased."""
    embedder = ports.memory.embedder if ports.memory else None
    probes = {embedder.name: [[1.0] + [0.0] * (embedder.dimensions - 1)]} if embedder else {}
    return QdrantGraves(getattr(ports.store, "collection"), probes=probes)  # noqa: B009 - every store of ours has it


def make_worker_of(settings: Settings, client: Client, ports: Ports) -> Worker:
    """The worker that the settings describe."""
    return make_worker(
        client,
        settings.task_queue,
        ports,
        max_activities=settings.max_concurrent_activities,
        grace_s=settings.grace_s,
        queues=settings.qdrant_url is not None,  # the embedded store is for one process
        **version(settings),
    )


def open_catalog(settings: Settings, agent: str | None = None) -> LiveCatalog:
    """The agents of catalog/. Raises: SetupError if a file of it cannot be used."""
    found = discover(agent or settings.agent, reload=settings.reload)
    for tool in {tool.name: tool for made in found.ready_made() for tool in made.tools}.values():
        if tool.effect == "write" and tool.timeout_s > settings.grace_s:
            # A worker that stops cuts it off then, and its outcome is unknown.
            log.warning("tool.outlives_grace", tool=tool.name, timeout_s=tool.timeout_s, grace_s=settings.grace_s)
    return found


@asynccontextmanager
async def open_embedder(settings: Settings, *, demo: bool = False) -> AsyncIterator[Embedder | None]:
    """What embeds, while entered; None if nothing is to, or the endpoint does not let us: recall is by words then.

    Raises: SetupError if it is not installed, or its address or key cannot be used as it is written.
    """
    choice = choose_embedding(settings, demo=demo)
    try:
        embedder = await _embedder(settings, choice)
    except ModelError as error:
        remedy = "memory is searched by words until this program starts again"
        log.warning("embedding.away", model=choice.model, error=str(error), remedy=remedy)
        embedder = None
    try:
        yield embedder
    finally:
        if embedder is not None:
            await embedder.close()


async def _embedder(settings: Settings, choice: EmbeddingChoice) -> OpenEmbedder | None:
    if choice.kind == "bundled":
        return await embedders.open_bundled()
    if choice.kind == "fastembed":
        return await embedders.open_fastembed(choice.model)
    if choice.endpoint is None:
        return None
    endpoint = _embedding_endpoint(settings, choice.endpoint)
    return await embedders.open_endpoint(endpoint, choice.model, settings.embedding_dimensions)


def _embedding_endpoint(settings: Settings, chosen: EmbeddingEndpoint) -> Endpoint:
    names = _names_of(chosen.provider) if chosen.provider else SettingNames()
    names = replace(names, model="EVERTHREAD_EMBEDDING")
    return Endpoint(chosen.base_url, chosen.api_key, names, settings.model_connect_timeout_s)


@asynccontextmanager
async def embedder_of(settings: Settings, vector_name: str) -> AsyncIterator[Embedder | None]:
    """What makes the vectors of that name, while entered; None if its model cannot be had any more, or not now.

    For queries over vectors of an earlier setting, until those of the present one are all there.
    """
    endpoints = [_embedding_endpoint(settings, endpoint) for endpoint in embedding_endpoints(settings)]
    embedder = await embedders.find(vector_name, endpoints)
    try:
        yield embedder
    finally:
        if embedder is not None:
            await embedder.close()


@asynccontextmanager
async def open_memory(settings: Settings, store: QdrantStore, *, demo: bool = False) -> AsyncIterator[Memory]:
    """Memory over the store, while entered. Raises: SetupError if the embedding model cannot be used as it is written."""
    index = QdrantIndex(store.collection(MESSAGES), store.collection(RECORDS))
    async with AsyncExitStack() as stack:
        embedder = await stack.enter_async_context(open_embedder(settings, demo=demo))
        state, older = await index.state(), {}
        active = state.active if state else None
        if active is not None and (embedder is None or embedder.name != active):
            found = await stack.enter_async_context(embedder_of(settings, active))
            older = {active: found} if found else {}
        yield Memory(index, open_lexicon(settings), embedder, older)


async def keep_memory(client: Client, task_queue: str) -> None:
    """See that the background work of memory goes on, here or on another worker."""
    await client.start_workflow(
        KeepMemory.run,
        id=keeping.workflow_id(task_queue),
        task_queue=task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary="Memory: embeddings, facts, summaries, documents",
    )


def open_lexicon(settings: Settings) -> Lexicon:
    return WordLexicon(settings.language)


def open_blobs(settings: Settings) -> Blobs:
    return FolderBlobs(settings.data_dir / "blobs")


def summaries_of(store: QdrantStore) -> Summaries:
    return QdrantSummaries(store.collection(MESSAGES), store.collection(RECORDS))


def make_chores(ports: Ports) -> list[Chore]:
    """What is to be done about memory in the background."""
    chores = [*(ports.memory.chores if ports.memory else []), *(ports.knowledge.chores if ports.knowledge else [])]
    if ports.notebook is not None:
        chores += ports.notebook.chores(ports.store, ports.model, ports.catalog)
    if ports.summaries is not None:
        budget, tokens = ports.context_tokens, ports.tokens
        chores.append(Compaction(ports.summaries, ports.model, ports.catalog, budget_tokens=budget, tokens=tokens))
    return chores


def notebook_of(store: QdrantStore, memory: Memory) -> Notebook:
    """Facts and working memory beside the messages."""
    messages, records = store.collection(MESSAGES), store.collection(RECORDS)
    return Notebook(QdrantFacts(store.collection(FACTS)), QdrantNotes(records), QdrantLessons(messages), memory)


def knowledge_of(store: QdrantStore, blobs: Blobs, webhooks: Webhooks, memory: Memory) -> Knowledge:
    """Documents beside the messages, found by the same words and the same embedding model."""
    chunks = QdrantKnowledge(store.collection(CHUNKS))
    older = list(memory.older.values())
    return Knowledge(chunks, blobs, Documents(), webhooks, memory.lexicon, memory.embedder, older)


def open_tokens(choice: ModelChoice) -> TokenCounter:
    """As OpenAI's models count where one is asked, or may be; everything else is estimated."""
    if choice.kind not in ("openai", "compatible", "provider"):
        return Estimates()
    tokens = OpenAITokens(choice.name)
    tokens.counter(None)  # to read its table takes a fifth of a second, which is not to be a turn's
    return tokens


def version(settings: Settings) -> dict[str, Any]:
    """Options of a worker that say which build it is. A thread is pinned to the build that its run began on."""
    if settings.deployment_name is None or settings.build_id is None:
        return {}
    return {
        "deployment_config": WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(settings.deployment_name, settings.build_id),
            use_worker_versioning=True,
            default_versioning_behavior=VersioningBehavior.PINNED,
        )
    }


@asynccontextmanager
async def open_ports(
    settings: Settings, model: ChatModel, choice: ModelChoice, catalog: Catalog, *, demo: bool = False
) -> AsyncIterator[Ports]:
    """All that activities need, beside a model that is open already, while entered. Raises: SetupError, StoreError."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings))
        webhooks = await stack.enter_async_context(open_webhooks(settings))
        blobs = open_blobs(settings)
        memory = await stack.enter_async_context(open_memory(settings, store, demo=demo))
        yield Ports(
            store,
            MemoryEvents(),
            model,
            catalog,
            choice.context_tokens,
            webhooks,
            blobs,
            servers=await stack.enter_async_context(open_servers(settings)),
            tokens=open_tokens(choice),
            memory=memory,
            knowledge=knowledge_of(store, blobs, webhooks, memory),
            notebook=notebook_of(store, memory),
            summaries=summaries_of(store),
        )


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[Worker]:
    """A worker and all it needs, while entered. Raises: SetupError, StoreError with the remedy in one line.

    Live events stay in its process; readers in others find what it says in the store.
    """
    choice = choose_model(settings, demo=False)
    if choice.base_url is None:
        raise SetupError("a worker starts no model of its own: set OPENAI_API_KEY or OPENAI_BASE_URL")
    registry = open_catalog(settings)
    async with AsyncExitStack() as stack:
        model, choice = await open_model(settings, choice)
        stack.push_async_callback(model.close)
        client = await connect(settings, settings.temporal_address or f"127.0.0.1:{settings.temporal_port}")
        ports = await stack.enter_async_context(open_ports(settings, model, choice, registry))
        worker = await stack.enter_async_context(make_worker_of(settings, client, ports))
        await keep_memory(client, settings.task_queue)
        stack.callback(asyncio.ensure_future(watch_lag()).cancel)
        yield worker


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[QdrantStore]:
    """The store while entered: a Qdrant server's if there is one, else the embedded one, which belongs to this process.

    Raises: StoreBusyError if another process has the embedded one; StoreError, SetupError with the remedy.
    """
    if settings.qdrant_url is None:
        embedded = EdgeStore(settings.data_dir / "store")
        try:
            yield embedded
        finally:
            embedded.close()
        return
    async with _open_server(settings, settings.qdrant_url) as server:
        yield server


@asynccontextmanager
async def _open_server(settings: Settings, url: str) -> AsyncIterator[QdrantStore]:
    from adapters.qdrant_layout import Layout
    from adapters.qdrant_server import ServerStore  # a second of imports, for those who have a server

    layout = Layout(
        shards=settings.qdrant_shard_number,
        replicas=settings.qdrant_replication_factor,
        write_consistency=settings.qdrant_write_consistency_factor,
        quantization=settings.qdrant_quantization,
        on_disk=settings.qdrant_on_disk,
    )
    key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
    deadline = asyncio.get_running_loop().time() + CONNECT_S
    store = None
    while store is None:
        try:
            store = await ServerStore.open(url, api_key=key, timeout_s=settings.qdrant_timeout_s, layout=layout)
        except UnavailableError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise SetupError(str(error)) from error
            await asyncio.sleep(0.5)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_webhooks(settings: Settings) -> AsyncIterator[Webhooks]:
    """What replies to web addresses go out by, while entered."""
    webhooks = SignedWebhooks(webhook_key(settings.webhook_secret), private=settings.webhook_private)
    try:
        yield webhooks
    finally:
        await webhooks.close()


@asynccontextmanager
async def open_servers(settings: Settings) -> AsyncIterator[McpServers]:
    """The MCP servers of agents; each is started or connected to when an agent needs it, and has ended after this."""
    servers = McpServers(leash=Path(leash.__file__), logs=settings.data_dir / "logs", secret=variable)
    try:
        yield servers
    finally:
        await servers.close()


def describe_embedding(ports: Ports) -> str:
    """For the banner."""
    embedder = ports.memory.embedder if ports.memory else None
    if embedder is None:
        return "none · memory is searched by words alone"
    where = "on this machine" if embedder.name == BUNDLED else "by its endpoint"
    return f"{embedder.name} · {where}"


def describe_store(settings: Settings) -> str:
    """For the banner."""
    if settings.qdrant_url is not None:
        return f"{settings.qdrant_url} · Qdrant server"
    return f"{settings.data_dir / 'store'} · Qdrant Edge, embedded"


async def open_model(settings: Settings, choice: ModelChoice) -> tuple[ModelRouter, ModelChoice]:
    """The models, after a look whether the default is there, and the choice with its name.

    Raises: SetupError with the remedy.
    """
    providers = _providers(settings, choice)
    model = _model(settings, choice)
    names = await _probe(model)
    if choice.name is None:
        if not names:
            raise SetupError("the server at OPENAI_BASE_URL lists no models: set EVERTHREAD_MODEL to the name of one")
        await model.close()
        choice = replace(choice, name=next((name for name in names if _chats(name)), names[0]))
        model = _model(settings, choice)
    own = {"openai": model} if choice.kind == "openai" else {}
    return ModelRouter(model, own | providers, None if choice.kind == "demo" else settings.model), choice


def _providers(settings: Settings, choice: ModelChoice) -> dict[str, OpenAIChat]:
    """Raises: SetupError if one cannot be used as it is written. The demo has none."""
    found = {} if choice.kind == "demo" else settings.providers or {}
    return {
        name: OpenAIChat(
            base_url=provider.base_url,
            api_key=provider.api_key.get_secret_value(),
            default_model="",
            timeouts=_timeouts(settings),
            names=_names_of(name),
        )
        for name, provider in found.items()
    }


def _names_of(provider: str) -> SettingNames:
    setting = f"{provider} of EVERTHREAD_PROVIDERS"
    return SettingNames(url=setting, key=setting, model="the model's name")


def _chats(name: str) -> bool:
    """Whether a model's name is not one of another kind's."""
    return not any(kind in name.lower() for kind in ("embed", "whisper", "tts", "dall-e", "moderation", "rerank"))


def _model(settings: Settings, choice: ModelChoice) -> OpenAIChat:
    named = provider_of(settings) if choice.kind == "provider" else None
    return OpenAIChat(
        base_url=choice.base_url or "",
        api_key=choice.api_key,
        default_model=choice.name or "",
        timeouts=_timeouts(settings),
        names=_names_of(named[0]) if named else None,
    )


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(
        connect_s=settings.model_connect_timeout_s,
        first_token_s=settings.model_first_token_timeout_s,
        between_chunks_s=settings.model_chunk_timeout_s,
        whole_call_s=settings.model_call_timeout_s,
    )


async def _probe(model: OpenAIChat) -> list[str]:
    for left in reversed(range(PROBE_TRIES)):
        try:
            return await model.probe()
        except ModelRefusedError as error:
            raise SetupError(str(error)) from error
        except ModelUnavailableError as error:
            if not left:
                raise SetupError(f"{error}. Start it, or change its address") from error
            await asyncio.sleep(0.5)
    raise AssertionError


async def connect(settings: Settings, address: str) -> Client:
    """A client of a namespace that has what threads need. Raises: SetupError with the reason."""
    try:
        client = await temporal.connect(address, settings.temporal_namespace, wait_s=CONNECT_S)
        await temporal.add_search_attributes(client, [key.name for key in attributes.ALL])
        if settings.temporal_address is None:
            await temporal.keep_closed_workflows(client, settings.retention_days)
    except (RPCError, RuntimeError) as error:
        raise SetupError(f"Temporal at {address} cannot be used: {preview(str(error), 200)}") from error
    return client


class LogContext(Interceptor):
    """Every log line of an activity names its workflow, activity and attempt."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _BindActivity(next)


class _BindActivity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        info = activity.info()
        bound = {"workflow_id": info.workflow_id, "activity": info.activity_type, "attempt": info.attempt}
        with structlog.contextvars.bound_contextvars(**bound):
            return await super().execute_activity(input)
