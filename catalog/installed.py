"""Tools of installed packages, by name: what stands in the entry point group `everthread.tools` of any of them."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from domain.agent import Tool

GROUP = "everthread.tools"


def tool(name: str) -> Tool:
    """The installed tool of that name. Raises: LookupError if there is none, several, or its package cannot be loaded."""
    found: list[tuple[str, Tool]] = []
    broken: list[str] = []
    for point in entry_points(group=GROUP):
        try:
            found += [(_package(point), made) for made in _tools_of(point)]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - one broken package is no harm to the others
            broken.append(f"{_package(point)} cannot be loaded: {type(error).__name__}: {error}")
    fitting = [(package, made) for package, made in found if made.name == name]
    if len(fitting) == 1:
        return fitting[0][1]
    if fitting:
        raise LookupError(f"several packages have a tool {name!r}: {', '.join(package for package, _ in fitting)}")
    known = ", ".join(sorted(made.name for _, made in found)) or "none"
    raise LookupError("; ".join([f"no installed package has a tool {name!r}; the tools are: {known}", *broken]))


def _tools_of(point: EntryPoint) -> list[Tool]:
    value = point.load()
    tools = list(value) if isinstance(value, list | tuple) else [value]
    for made in tools:
        if not isinstance(made, Tool):
            raise TypeError(f"{point.value} is a {type(made).__name__}, not a Tool or a list of them")
    return tools


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
