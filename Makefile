# Set-up, then the job: every target works alone on a fresh clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MINUTES ?= 5
READY := $(VENV)/.ready
# What benchmarks and test-compiled run, where it is there and GATEWAY_BUILD does not say otherwise: see
# tests/support/compiled.py. All else runs from the sources.
COMPILED := $(CURDIR)/.compiled
WITH_COMPILED = tree=$$($(BIN)/python -m tests.support.compiled tree); test -z "$$tree" || export PYTHONPATH="$$tree"

# The Consul binary, obtained where the machine has none; looked up only by the targets that need it.
WITH_CONSUL = consul=$$(consul/get-consul) && CONSUL_BIN=$$consul

.DEFAULT_GOAL := help
.PHONY: help setup run compiled test test-compiled test-long lint format bench soak model-check model-check-deep mutation fuzz lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(READY) ## virtual environment from requirements.lock, and a Consul binary
	@consul/get-consul >/dev/null

compiled: export GATEWAY_BUILD ?= auto
compiled: setup ## the gateway compiled, for bench and test-compiled: a minute or two, where there is a C compiler
	@$(BIN)/python -m tests.support.compiled

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed; make PYTHON=… picks one")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# exec, and the shell's trap: Ctrl-C goes to the demo, which removes what it started, and make ends without complaint.
run: setup ## a dev Consul, three services, an edge gateway on :8080 and a sidecar; Ctrl-C removes it all
	@$(WITH_CONSUL) exec $(BIN)/gateway demo

test: setup ## every test but the long ones
	@$(WITH_CONSUL) $(BIN)/pytest -m "not long" $(ARGS)

test-compiled: export GATEWAY_BUILD ?= auto
test-compiled: compiled ## the same in a compiled process, with compiled gateways: what is installed
	@set -e; $(WITH_COMPILED); test -n "$$tree" || { echo "nothing is compiled here"; exit 1; }; \
		$(WITH_CONSUL) $(BIN)/pytest -m "not long" $(ARGS)

test-long: setup ## outages of a minute, bodies of a gigabyte
	@$(WITH_CONSUL) $(BIN)/pytest -m long --timeout=900 $(ARGS)

lint: $(READY) ## ruff, mypy --strict, import contracts
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary hatch_build.py src tests benchmarks specs
	@$(BIN)/lint-imports --no-logo

format: $(READY) ## rewrite the sources as lint wants them
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

bench: export GATEWAY_BUILD ?= auto
bench: compiled ## figures of the compiled gateway, each against something measured in the same run
	@set -e; $(WITH_COMPILED); $(WITH_CONSUL); export CONSUL_BIN; for script in benchmarks/*.py; do \
		echo "== $$script"; $(BIN)/python -m benchmarks.$$(basename $$script .py); done

soak: setup ## a mixed load with every fault, for MINUTES=5; ARGS="--seed N --only TEXT"
	@$(WITH_CONSUL) $(BIN)/python -m tests.soak --minutes $(MINUTES) $(ARGS)

model-check: $(READY) ## the specification, by TLC (needs Java); ARGS="NAME …" for some of it
	@$(BIN)/python -m specs.check $(ARGS)

model-check-deep: $(READY) ## larger searches, ten minutes each at most; says how far each got
	@$(BIN)/python -m specs.check --deep $(ARGS)

mutation: $(VENV)/.mutation ## changes to the core that no test notices, by mutmut; ARGS="MODULE …" for some of it
	@$(BIN)/python -m tests.mutation.run $(ARGS)

$(VENV)/.mutation: $(READY)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --no-build-isolation \
		--editable '.[mutation]'
	@touch $@

SECONDS ?= 60
fuzz: $(VENV)/.fuzz ## bytes of others, guided by coverage, by atheris; SECONDS=60 for each target, ARGS="TARGET …"
	@$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) $(ARGS)

$(VENV)/.fuzz: $(READY)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --no-build-isolation \
		--editable '.[fuzz]'
	@touch $@

lock: $(READY) ## write requirements.lock anew from pyproject.toml (needs uv on PATH)
	@uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-header --no-annotate --no-emit-index-url \
		--upgrade pyproject.toml --output-file requirements.new
	@{ head -n 1 requirements.lock; cat requirements.new; } >requirements.both && rm requirements.new
	@mv requirements.both requirements.lock

clean: ## remove what make and the tools made
	@rm -rf $(VENV) $(COMPILED) .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist mutants
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
