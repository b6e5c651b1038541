# Everything here works on GNU make 3.81, which is what macOS has. `make` alone lists the goals.
#   ARGS=…  is handed to the program:  make run ARGS="--thread mine"   make test ARGS="-k fence"

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:
.PHONY: help run demo test check fmt lock bench-history bench-turn bench-interrupt bench-long bench-recall bench-store bench-memory bench-junk crash-loop chaos record-histories clean

PYTHON := .venv/bin/python
# Bootstrap never reads standard input: in `printf 'Hello\n' | make run` it belongs to the program.
INSTALL := sh bootstrap.sh </dev/null
# By env(1), since SECONDS is a clock of its own in some shells.
FIGURES := exec env $(foreach name,N SECONDS SEED KEEP DATA,$(if $($(name)),$(name)='$($(name))')) $(PYTHON)

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

run: ## Start everything and chat: Temporal, worker, gateway, model (stdin may be a pipe)
	@$(INSTALL) run auto-local auto-tokens && exec $(PYTHON) cli.py dev $(ARGS)

demo: ## The same on a scripted model with a slow answer: time enough to kill it and start again
	@$(INSTALL) run && exec $(PYTHON) cli.py dev --demo $(ARGS)

# Each process has a Temporal server and a store of its own; a file's tests stay together, in the order of tests/conftest.py.
AT_ONCE := -n 3 --dist loadfile --no-loadscope-reorder
# What one process has compiled the others read, and the programs that tests start, whatever the user's own settings are.
COMPILED := env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX='$(CURDIR)/.pytest_cache/pycache'

test: ## All tests; ARGS="-k word" for some
	@$(INSTALL) run local tokens dev && exec $(COMPILED) $(PYTHON) -m pytest $(or $(ARGS),$(AT_ONCE))

check: ## Lint, format, types, import contracts, docs, lock; writes nothing
	@$(INSTALL) run local dev
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports --no-logo
	@$(PYTHON) -m tests.wire_docs --check
	@$(PYTHON) -m tests.check_parity
	@$(PYTHON) -m tests.check_lock

fmt: ## Format, and fix what can be fixed safely
	@$(INSTALL) run local dev
	@$(PYTHON) -m ruff check --quiet --fix --exit-zero .
	@$(PYTHON) -m ruff format .

COMPILE := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
GROUPS := run local tokens dev bootstrap

# All groups are resolved together first, so that no two files can name different versions of one package. Each file then
# takes its pins from that. Known pins are kept; UPGRADE=1 takes the newest.
lock: ## Compile requirements/ from pyproject.toml; UPGRADE=1 takes the newest versions
	@set -e; uv=$$($(INSTALL) uv); new=$$(mktemp -d); trap 'rm -rf "$$new"' EXIT; \
	$(if $(UPGRADE),,cat requirements/*.txt >"$$new/all.txt";) \
	"$$uv" $(COMPILE) $(GROUPS:%=--group %) -o "$$new/all.txt" >/dev/null; \
	for group in $(GROUPS); do \
	    cp "$$new/all.txt" "$$new/$$group.txt"; \
	    "$$uv" $(COMPILE) --group $$group -o "$$new/$$group.txt" >/dev/null; \
	done; \
	rm "$$new/all.txt"; cp "$$new"/*.txt requirements/

bench-history: ## Events and bytes of history a turn; N= turns
	@$(INSTALL) run dev && $(FIGURES) -m bench.history $(ARGS)

bench-turn: ## Latency and throughput of a turn against the floor; N= samples
	@$(INSTALL) run dev && $(FIGURES) -m bench.turn $(ARGS)

bench-interrupt: ## How soon a turn stops, and goes on when its worker was killed; N= interrupts
	@$(INSTALL) run dev && $(FIGURES) -m bench.interrupt $(ARGS)

bench-long: ## A life of 10,000 turns: rolls, history, memory; N= turns
	@$(INSTALL) run dev && $(FIGURES) -m bench.long $(ARGS)

bench-recall: ## Evidence recall on conversations in LoCoMo's format; DATA=folder
	@$(INSTALL) run dev && $(FIGURES) -m bench.recall $(ARGS)

bench-store: ## 100,000 messages on the embedded store: load, recall under load, loop lag, memory; N= SECONDS=
	@$(INSTALL) run dev && $(FIGURES) -m bench.store $(ARGS)

bench-memory: ## What memory adds to a turn; N= samples
	@$(INSTALL) run dev && $(FIGURES) -m bench.memory $(ARGS)

bench-junk: ## 30 days of chats with facts: doubles, recalled text stored again, contradictions; SEED=
	@$(INSTALL) run dev && $(FIGURES) -m bench.junk_audit $(ARGS)

crash-loop: ## Kill it at random moments and count the answers; N= kills, SECONDS= at most
	@$(INSTALL) run local dev && $(FIGURES) -m bench.crash_loop $(ARGS)

chaos: ## 2,000 prompts while workers are killed and frozen, and count their ends; SECONDS= N= SEED= KEEP=
	@$(INSTALL) run dev && $(FIGURES) -m bench.chaos $(ARGS)

record-histories: ## Record the workflow histories that the replay tests read
	@$(INSTALL) run dev && exec $(PYTHON) -m tests.replay.record $(ARGS)

clean: ## Remove what is installed and cached; your threads in .everthread stay
	@rm -rf .venv .venv-uv .venv.lock .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name .everthread -prune -o -name .git -prune -o -type d -name __pycache__ -print | while read -r folder; do rm -rf "$$folder"; done
