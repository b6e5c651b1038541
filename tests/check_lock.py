"""The lock can be trusted: everything in it is pinned by hash, nothing names an address, and nothing needs a compiler.

`make check` runs this as a program. Whether each package has a wheel on each platform is asked of the package index, with
the same installer that bootstrap.sh uses, and asked again only after a change of the lock.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
CHECKED = ROOT / ".venv" / "everthread-lock-checked"

# What `make run` must install as wheels alone: development tools may ask more of a machine.
RUNNING = ("run", "local", "tokens")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)")
_ADDRESS = re.compile(r"^-|^[./~]|\s@\s|file:|https?:|://|--(index|extra-index|find-links)")
_NO_NETWORK = re.compile(r"dns error|error sending request|failed to fetch|could not connect|timed out", re.IGNORECASE)


def main() -> int:
    """Print what is wrong, one line each. Returns the exit status."""
    files = {path.stem: path.read_text(encoding="utf-8") for path in sorted(REQUIREMENTS.glob("*.txt"))}
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    faults = [*find_faults(files, groups)]
    if not faults:
        faults = [*find_missing_wheels(files)]
    for fault in faults:
        print(f"lock: {fault}", file=sys.stderr)
    if faults:
        print("lock: `make lock` compiles requirements/ anew from pyproject.toml.", file=sys.stderr)
    return 1 if faults else 0


def find_faults(files: dict[str, str], groups: dict[str, list[str]]) -> Iterator[str]:
    """What can be seen without a network. `files` and `groups` are keyed by the group's name."""
    for group in sorted(files.keys() ^ groups.keys()):
        yield f"group {group} is in only one of pyproject.toml and requirements/"
    versions: dict[str, set[str]] = {}
    for group, text in files.items():
        yield from _find_addresses(group, text)
        rows = _rows(text)
        yield from _find_loose_rows(group, rows, versions)
        locked = {_normal(pin["name"]) for row in rows if (pin := _PIN.match(row))}
        for wanted in groups.get(group, []):
            if (name := _normal(re.split(r"[\s\[<>=!~;]", wanted, maxsplit=1)[0])) not in locked:
                yield f"requirements/{group}.txt lacks {name}, which pyproject.toml asks for"


def _find_loose_rows(group: str, rows: list[str], versions: dict[str, set[str]]) -> Iterator[str]:
    """`versions` gathers every pin seen in the files so far: a package may have one version for each of several Pythons."""
    here: dict[str, set[str]] = {}
    for row in rows:
        pin = _PIN.match(row)
        if not pin:
            yield f"requirements/{group}.txt has a row that pins no package: {row.strip()[:80]}"
            continue
        name = _normal(pin["name"])
        if "--hash=sha256:" not in row:
            yield f"requirements/{group}.txt: {name} has no hash"
        here.setdefault(name, set()).add(pin["version"])
    for name, pinned in here.items():
        if versions.setdefault(name, pinned) != pinned:
            shown = [" and ".join(sorted(some)) for some in (pinned, versions[name])]
            yield f"requirements/{group}.txt: {name} is {shown[0]} here and {shown[1]} in another file"


def _find_addresses(group: str, text: str) -> Iterator[str]:
    for line in text.splitlines():
        if _ADDRESS.search(re.sub(r"--hash=\S+", "", line).strip()):
            yield f"requirements/{group}.txt names an address, a path or an option: {line.strip()[:80]}"


def find_missing_wheels(files: dict[str, str]) -> Iterator[str]:
    """Ask for every platform and Python whether all of `RUNNING` can be installed without building anything."""
    question = "\n".join([*PLATFORMS, *PYTHONS, *(files[group] for group in RUNNING)])
    key = hashlib.sha256(question.encode()).hexdigest()
    if CHECKED.exists() and CHECKED.read_text(encoding="utf-8") == key:
        return
    uv = _uv()
    targets = [*product(PLATFORMS, PYTHONS)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = [*pool.map(lambda target: _resolve(uv, *target), targets)]
    where: dict[str, list[str]] = {}
    for (platform, python), answer in zip(targets, answers, strict=True):
        where.setdefault(answer, []).append(f"{platform} with Python {python}")
    refused = [answer for answer in where if answer and not _NO_NETWORK.search(answer)]
    for answer in refused:
        yield f"no install from wheels alone on {', '.join(where[answer])}: {answer}"
    if where.keys() == {""}:
        CHECKED.write_text(key, encoding="utf-8")
    elif not refused:
        print("lock: wheels not checked, since the package index cannot be reached; the next `make check` asks again.")


def _resolve(uv: str, platform: str, python: str) -> str:
    """Returns what the installer says against it, or an empty string."""
    with tempfile.TemporaryDirectory() as folder:
        command = [uv, "pip", "install", "--quiet", "--dry-run", "--no-build", "--no-deps", "--require-hashes"]
        command += ["--python", sys.executable, "--target", folder]
        command += ["--python-platform", platform, "--python-version", python]
        for group in RUNNING:
            command += ["-r", str(REQUIREMENTS / f"{group}.txt")]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return " ".join(done.stderr.split()) or "it failed without a word" if done.returncode else ""


def _uv() -> str:
    """The installer that bootstrap.sh uses, which need not be on the path."""
    found = subprocess.run(["sh", str(ROOT / "bootstrap.sh"), "uv"], stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.strip()


def _rows(text: str) -> list[str]:
    """One requirement a row, its continuation lines joined; comments left out."""
    code = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [row for row in "\n".join(code).replace("\\\n", " ").splitlines() if row.strip()]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
