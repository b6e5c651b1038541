"""What holds for the whole house and no import contract can say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from dotenv import dotenv_values

from catalog.live import discover
from runtime.settings import Settings

ROOT = Path(__file__).parents[1]
ENV_EXAMPLE = ROOT / ".env.example"


def our_files() -> list[Path]:
    """What belongs to the repository, whether committed or not."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def our_code() -> dict[str, str]:
    """The text of each Python file of ours that is not a test, by its path."""
    files = [path for path in our_files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] != "tests"]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}


def our_names() -> set[str]:
    """What can be imported from the root."""
    return {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in our_files() if path.suffix == ".py"}


# --- names


def test_no_name_of_ours_hides_an_installed_package() -> None:
    """Everything runs from the root, which comes first on the path: openai-agents, for one, is imported as `agents`."""
    taken = {*packages_distributions(), *sys.stdlib_module_names, "agents"}
    assert our_names() & taken == set()


# --- settings


def environment_name(field: str) -> str:
    alias: Any = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if alias else f"EVERTHREAD_{field.upper()}"


def documented() -> dict[str, str | None]:
    """Names and values of .env.example, with the comment signs before them taken away."""
    if not ENV_EXAMPLE.exists():
        pytest.skip(".env.example does not exist yet")
    text = re.sub(r"(?m)^# ?(?=[A-Z][A-Z_]+=)", "", ENV_EXAMPLE.read_text(encoding="utf-8"))
    return dotenv_values(stream=StringIO(text))


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_is_documented_with_its_default(field: str) -> None:
    default = Settings.model_fields[field].default
    name, shown = environment_name(field), documented()
    assert name in shown, f"{name} is not in .env.example"
    if default is None:
        assert not shown[name]
    else:
        assert Settings.model_validate({field: shown[name]}) == Settings.model_validate({field: default})


def test_nothing_is_documented_that_is_no_setting() -> None:
    assert set(documented()) <= {environment_name(field) for field in Settings.model_fields}


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_is_read(field: str) -> None:
    readers = [path for path, text in our_code().items() if re.search(rf"\bsettings\.{field}\b", text)]
    assert readers, f"{environment_name(field)} changes nothing"


def test_the_environment_is_read_in_one_place() -> None:
    stray = [path for path, text in our_code().items() if re.search(r"\bos\.(environ|getenv)\b", text)]
    assert [path for path in stray if not path.startswith(("bench/", "doubles/"))] == []


# --- what a user edits


def test_the_agents_of_the_catalog_load() -> None:
    assert discover(Settings.model_fields["agent"].default).names()


# --- what must not be in a repository

# In pieces, so that this file does not find itself.
MACHINE = "|".join([r"/wor" + r"k/(main|shared)\b", r"/roo" + r"t/\w", r"/hom" + r"e/\w", r"/User" + r"s/\w"])
REGISTRIES = "|".join(
    [r"pypi\." + "org", r"python" + "hosted", r"registry\." + "npmjs", r"proxy\." + r"golang", "index-" + "url"]
)


def index_hosts() -> set[str]:
    """Where this machine gets its packages from."""
    variables = [value for name, value in os.environ.items() if re.fullmatch(r"(UV|PIP)_.*(INDEX|URL).*", name)]
    return {host for value in variables for url in value.split() if (host := urlsplit(url).hostname)}


def test_no_file_tells_of_a_machine_or_a_registry() -> None:
    hosts = [re.escape(host) for host in index_hosts() if host not in {"localhost", "127.0.0.1"}]
    pattern = re.compile("|".join([MACHINE, REGISTRIES, *hosts]))
    texts = ((path, path.read_text(encoding="utf-8", errors="replace")) for path in our_files())
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path, text in texts if (match := pattern.search(text))]
    assert found == []
