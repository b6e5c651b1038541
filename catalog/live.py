"""The catalog as its files are now: an edit of an agent or a tool counts from the next prompt on, without a restart."""

from __future__ import annotations

import asyncio
import importlib
import importlib.machinery
import importlib.util
import pkgutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import structlog

import catalog.agents
import catalog.tools
from catalog.registry import Registry
from domain.agent import Agent, AgentFactory
from domain.errors import SetupError, UnknownAgentError
from domain.messages import mend_text, preview
from domain.tooling import Asker

CHECK_EVERY_S = 0.2  # the files are looked at no more often
VANISHED_S = 2.0  # so long may a file be away while it is written anew

Stamp = tuple[int, int, int]  # what of a file changes with it
Found = list[Agent | AgentFactory]

log = structlog.get_logger()


class LiveCatalog:
    """activities.ports.Catalog over catalog/agents/ and catalog/tools/.

    When a file has changed, all of them are run anew. Of one that is broken the last good version stays, and the log
    says once what is wrong with it. Raises: SetupError if one is broken from the start.
    """

    def __init__(self, default: str, *, reload: bool = True) -> None:
        self._default = default
        self._reload = reload
        self._stamps = _stamps()
        self._looked_at = time.monotonic()
        self._vanished: dict[str, float] = {}  # agent → when it was there no longer
        self.problems: dict[str, str] = {}  # file → what is wrong with it
        modules, problems = _modules(fresh=False)
        for file, problem in problems.items():
            raise SetupError(f"{file} cannot be loaded: {problem}")
        self._registry = Registry(_agents_of(modules), default)

    @property
    def default(self) -> str:
        return self._registry.default

    async def agent(self, name: str, asker: Asker | None = None) -> Agent:
        """One that has just vanished is waited for: some programs remove a file before they write it anew."""
        self._look()
        while name not in self._registry.names() and time.monotonic() < self._vanished.get(name, 0.0) + VANISHED_S:
            await asyncio.sleep(CHECK_EVERY_S)
            self._look()
        try:
            return await self._registry.agent(name, asker)
        except UnknownAgentError as error:
            broken = "; ".join(f"{file} cannot be loaded: {problem}" for file, problem in self.problems.items())
            raise UnknownAgentError(f"{error} ({broken})" if broken else str(error)) from None

    def names(self) -> list[str]:
        self._look()
        return self._registry.names()

    def ready_made(self) -> list[Agent]:
        return self._registry.ready_made()

    def _look(self) -> None:
        """Load the files again if one of them has changed."""
        now = time.monotonic()
        if not self._reload or now - self._looked_at < CHECK_EVERY_S:
            return
        self._looked_at = now
        stamps = _stamps()
        if stamps != self._stamps:
            self._stamps = stamps
            self._load()

    def _load(self) -> None:
        modules, problems = _modules(fresh=True)
        before = self._registry
        try:
            self._registry = Registry(_agents_of(modules), self._default)
            gone = set(before.names()) - set(self._registry.names())
            self._vanished |= dict.fromkeys(gone, time.monotonic())
        except SetupError as error:  # two of one name, or the default is gone
            problems["catalog/agents"] = str(error)
        for file, problem in problems.items():
            if self.problems.get(file) != problem:
                log.error("catalog.broken", file=file, error=problem)
        self.problems = problems
        log.info("catalog.loaded", agents=self._registry.names())


def discover(default: str, *, reload: bool = True) -> LiveCatalog:
    """The agents of catalog/agents/: every Agent and AgentFactory at the top of a module."""
    return LiveCatalog(default, reload=reload)


def _agents_of(modules: Sequence[ModuleType]) -> Found:
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Agent | AgentFactory)]
    return list({id(agent): agent for agent in found}.values())


def _modules(*, fresh: bool) -> tuple[list[ModuleType], dict[str, str]]:
    """The modules of agents, and by file what is wrong; of a broken one its last good version, if it has one.

    `fresh`: run anew what is loaded already.
    """
    problems: dict[str, str] = {}
    before = _forget() if fresh else {}
    importlib.invalidate_caches()
    with _from_source():
        for package in (catalog.tools, catalog.agents):  # tools first, so that agents find the good versions of them
            for name in _names_in(package):
                if problem := _import(name):
                    problems[f"{name.replace('.', '/')}.py"] = problem
                    _restore(name, before)
    names = _names_in(catalog.agents)
    return [sys.modules[name] for name in names if name in sys.modules], problems


def _import(name: str) -> str | None:
    """Returns what went wrong, if so."""
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a file of a user's can do anything
        line = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        return preview(mend_text(f"{type(error).__name__}: {error}{line}"))
    return None


def _forget() -> dict[str, ModuleType]:
    """Take the catalog's modules out of the loaded ones. Returns them."""
    packages = (catalog.tools, catalog.agents)
    prefixes = tuple(f"{package.__name__}." for package in packages)
    gone = {name: module for name, module in sys.modules.items() if name.startswith(prefixes)}
    for name in gone:
        del sys.modules[name]
        parent, _, child = name.rpartition(".")
        with suppress(AttributeError, KeyError):
            delattr(sys.modules[parent], child)
    return gone


def _restore(name: str, before: dict[str, ModuleType]) -> None:
    sys.modules.pop(name, None)
    if name in before:
        parent, _, child = name.rpartition(".")
        sys.modules[name] = before[name]
        setattr(sys.modules[parent], child, before[name])


def _names_in(package: ModuleType) -> list[str]:
    return [f"{package.__name__}.{info.name}" for info in pkgutil.iter_modules(package.__path__)]


def _files() -> Iterator[Path]:
    for package in (catalog.tools, catalog.agents):
        for folder in package.__path__:
            yield from Path(folder).rglob("*.py")


def _stamps() -> dict[Path, Stamp]:
    stamps: dict[Path, Stamp] = {}
    for path in _files():
        with suppress(OSError):  # it has just gone
            status = path.stat()
            stamps[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return stamps


class _SourceLoader(SourceFileLoader):
    """Reads the source, never what was compiled of it, whose age is told in whole seconds."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


class _Finder:
    """Finds the catalog's modules for as long as they are loaded."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(("catalog.agents.", "catalog.tools.")):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader) or spec.origin is None:
            return spec
        loader = _SourceLoader(name, spec.origin)
        return importlib.util.spec_from_file_location(
            name, spec.origin, loader=loader, submodule_search_locations=spec.submodule_search_locations
        )


@contextmanager
def _from_source() -> Iterator[None]:
    finder: Any = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
