"""Finds the agents a user has defined: every `Agent` at the top of a module in catalog/agents/."""

from __future__ import annotations

import importlib
import pkgutil

import catalog.agents
from domain.agent import Agent
from domain.errors import SetupError, UnknownAgentError
from domain.handoffs import with_handoffs


class Registry:
    """activities.ports.Catalog over a set of agents."""

    def __init__(self, agents: list[Agent], default: str) -> None:
        """Raises: SetupError if two agents have one name, or the default or one that another names is none of them."""
        self._agents: dict[str, Agent] = {}
        for agent in agents:
            if agent.name in self._agents:
                raise SetupError(f"two agents are named {agent.name!r}: rename one of them in catalog/agents/")
            self._agents[agent.name] = agent
        if default not in self._agents:
            raise SetupError(f"EVERTHREAD_AGENT is {default!r}, but the agents are: {', '.join(self.names())}")
        try:
            self._agents = {name: with_handoffs(agent, self._agents) for name, agent in self._agents.items()}
        except ValueError as error:
            raise SetupError(f"{error}: correct it in catalog/agents/") from None
        self._default = default

    @property
    def default(self) -> str:
        return self._default

    def agent(self, name: str) -> Agent:
        try:
            return self._agents[name]
        except KeyError:
            raise UnknownAgentError(f"there is no agent {name!r}; the agents are: {', '.join(self.names())}") from None

    def names(self) -> list[str]:
        return sorted(self._agents)


def discover(default: str) -> Registry:
    """The agents of catalog/agents/."""
    modules = (
        importlib.import_module(f"catalog.agents.{info.name}") for info in pkgutil.iter_modules(catalog.agents.__path__)
    )
    agents = [value for module in modules for value in vars(module).values() if isinstance(value, Agent)]
    return Registry(list({id(agent): agent for agent in agents}.values()), default)
