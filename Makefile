# Everything a developer does with the shop. `make` lists it. Needs Python 3.11 and make, nothing else.

SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
SERVICES := $(PY) scripts/services.py
APPS := accounts catalog orders inventory payments delivery notifications
CODE := sagas fastdb supervision shop audit desk commands console embedded providers lab $(APPS)
ARGS ?=

# Processes find celery, granian and honcho of the virtual environment whoever starts them.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif
.SUFFIXES:

## —— Use it ——————————————————————————————————————————————

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^## ——/ { gsub(/[#—]/, ""); printf "\n%s\n", $$0 } \
	    /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo

.PHONY: demo
demo: .venv/.runtime ## Play the saga's flows, embedded: no server needed
	@exec $(PY) manage.py demo $(ARGS)

.PHONY: up
up: .venv/.runtime ## Serve the shop, embedded, until Ctrl-C; data stays in var/
	@exec $(PY) manage.py up $(ARGS)

.PHONY: services
services: .venv/.runtime ## Find or start PostgreSQL, RabbitMQ, Redis; prints their environment
	@exec $(SERVICES) up

.PHONY: down
down: .venv/.runtime ## Stop those of the three servers that `make services` or `make test` started
	@exec $(SERVICES) down

.PHONY: run
run: .venv/.dev ## All processes of Procfile on real servers, until Ctrl-C; ARGS="web orders" for some
	@exec $(PY) scripts/run.py $(ARGS)

.PHONY: env
env: .venv/.runtime ## Write .env for docker-compose.yml, with fresh secrets
	@exec $(PY) scripts/dotenv.py

## —— Change it ———————————————————————————————————————————

.PHONY: test
test: .venv/.dev ## Everything that must hold, on real servers; ARGS="-k cancel" goes to pytest
	@$(SERVICES) tools
	@exec $(MAKE) --no-print-directory $(if $(ARGS),test-some,test-all)

# Stages run two at a time: each prints when it is through. The slowest begins first.
STAGES := $(MAKE) --no-print-directory SIDE_BY_SIDE=1 --jobs=2 --output-sync=target
LINT := stage-types stage-ruff stage-imports stage-security stage-containers stage-workflows

# $(call stage,title,tool,command): a header, the command.
define stage
	@printf '\n==> %s: %s\n' '$(1)' '$(2)'
	@$(3)
endef

.PHONY: test-stages
test-stages:
	@exec $(STAGES) $(LINT) stage-migrations stage-checks stage-saga

.PHONY: test-some
test-some:
	@$(SERVICES) exec -- $(MAKE) --no-print-directory test-stages
	@printf '\n==> tests\n'
	@exec $(SERVICES) exec -- $(PY) -m pytest $(ARGS)

# Four runs of tests beside each other, and the stages beside them, each with databases and a vhost of its own: tests that
# start processes mostly wait for them, and others for PostgreSQL. Those of SERVED need most of the hundred connections of
# a PostgreSQL as it is installed; those of APART have servers of their own, or few processes; tests/conftest.py orders
# them. The last run is shown as it goes, what the others print comes at the end.
SERVED := (integration or acceptance) and not (chaos or soak)
APART := (documented or chaos or browser) and not soak
ALONE := not (integration or acceptance or documented or chaos or browser or soak)
WHOLE := tests/system tests/kernel tests/lab

.PHONY: test-all
test-all:
	@printf '\n==> tests\n'
	@echo 'Stages and three more runs of tests go on in the background and are shown at the end.'; \
	logs=$$(mktemp -d) && trap 'kill $$runs; wait; rm -rf $$logs; exit 130' INT TERM; \
	$(SERVICES) exec -- $(MAKE) --no-print-directory test-stages >$$logs/1 2>&1 & runs=$$!; \
	$(SERVICES) exec -- $(PY) -m pytest -m '$(SERVED)' >$$logs/2 2>&1 & runs="$$runs $$!"; \
	$(SERVICES) exec -- $(PY) -m pytest -m '$(APART)' >$$logs/3 2>&1 & runs="$$runs $$!"; \
	$(SERVICES) exec -- $(PY) -m pytest -m '$(ALONE)' $(WHOLE) >$$logs/4 2>&1 & runs="$$runs $$!"; \
	$(SERVICES) exec -- $(PY) -m pytest -m '$(ALONE)' $(WHOLE:%=--ignore=%); failed=$$?; \
	for run in $$runs; do wait $$run || failed=1; done; \
	cat $$logs/*; rm -rf $$logs; exit $$failed

.PHONY: soak
soak: .venv/.dev ## Tests that take long, and of which `make test` shows a part; ARGS="-k saga" for some
	@$(SERVICES) tools
	@exec $(SERVICES) exec -- $(PY) -m pytest -m soak $(ARGS)

.PHONY: coverage
coverage: .venv/.dev ## Which lines the tests run that start no processes; shows them in var/coverage/html/
	@mkdir -p var/coverage
	@$(SERVICES) tools
	@$(SERVICES) exec -- coverage run -m pytest -m 'not (integration or acceptance or documented or chaos or soak)' $(ARGS)
	@coverage html --quiet && coverage report

.PHONY: image-test
image-test: .venv/.runtime ## Build the image, start docker-compose.yml on a real engine, and place orders; ARGS=--own-engine
	@exec $(PY) scripts/image_test.py $(ARGS)

.PHONY: machines-test
machines-test: .venv/.dev ## As root on Debian: kill one of three machines under load; ARGS="--kinds A,B" for other faults
	@exec $(PY) manage.py chaos --machines $(or $(ARGS),--kinds "primary's machine killed" --rate 10)

.PHONY: drill
drill: .venv/.dev ## As root on Debian: back up seven databases, lose them under load, restore them, and audit
	@exec $(PY) manage.py drill $(ARGS)

.PHONY: simulate
simulate: .venv/.dev ## Play 100,000 random schedules of trouble (hours); SCHEDULES=1000 for fewer
	@SCHEDULES=$${SCHEDULES:-100000} exec $(SERVICES) exec -- $(PY) -m pytest -s -k any_schedule tests/system/test_schedules.py

.PHONY: stage-types stage-ruff stage-imports stage-security stage-containers stage-workflows
stage-types:
	$(call stage,types,mypy,DEBUG=$${DEBUG:-1} mypy)
stage-ruff:
	$(call stage,lint and format,ruff,ruff check . && ruff format --check .)
stage-imports:
	$(call stage,import contracts,import-linter,lint-imports --no-logo)
stage-security:
	$(call stage,security,bandit,bandit -q -c pyproject.toml -r $(CODE))
stage-containers:
	$(call stage,Dockerfile and docker-compose.yml,hadolint and check-jsonschema,hadolint Dockerfile && check-jsonschema -q --builtin-schema vendor.compose-spec docker-compose.yml)
stage-workflows:
	$(call stage,workflows,check-jsonschema and zizmor,$(MAKE) --no-print-directory lint-github)

# These ask a database.
.PHONY: stage-migrations stage-checks stage-saga
stage-migrations:
	$(call stage,no migration is missing,makemigrations --check,$(PY) manage.py makemigrations --check --dry-run)
stage-checks:
	$(call stage,system checks and saga table,check,$(PY) manage.py check --fail-level WARNING)
stage-saga:
	$(call stage,docs/saga.md is up to date,saga --check,$(PY) manage.py saga --check)

.PHONY: lint-github
lint-github:
	@check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@check-jsonschema -q --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yml
	@check-jsonschema -q --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	@check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml
	@zizmor --quiet --offline .github
	@pre-commit validate-config

.PHONY: lint
lint: .venv/.dev ## Lint, format, types, import contracts, security: the stages without a server
	@exec $(STAGES) $(LINT)

.PHONY: format
format: .venv/.dev ## Let ruff fix and format
	@ruff check --fix-only --quiet . && ruff format .

.PHONY: migrations
migrations: .venv/.dev ## Write the migrations that are missing; ARGS="orders -n name"
	@$(PY) manage.py makemigrations $(ARGS) && ruff format --quiet $(APPS)

.PHONY: messages
messages: .venv/.dev ## Compile the Korean translations of the admin, after a change in django.po
	@$(PY) scripts/messages.py

.PHONY: pictures
pictures: .venv/.dev ## Take the documentation's pictures, of an embedded shop in Chromium
	@$(PY) scripts/pictures.py

.PHONY: client
client: .venv/.dev ## Make a client of the API for Python: a wheel in var/client
	@exec $(PY) scripts/client.py

.PHONY: docs
docs: .venv/.dev var/mermaid.min.js ## Build the documentation site into var/site
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict && echo "Built var/site/index.html"

.PHONY: docs-serve
docs-serve: .venv/.dev var/mermaid.min.js ## Serve the documentation on http://127.0.0.1:8000, and follow changes
	@NO_MKDOCS_2_WARNING=1 exec mkdocs serve --strict $(ARGS)

# What draws the saga on the site. It is optional: without npm the site shows the diagram's text.
MERMAID := 11.17.2
MERMAID_SHA256 := 581ed7d74bd9048d0e3a91363927d72ef22942d7722546b27f7cc29e35390eb8
var/mermaid.min.js:
	@mkdir -p var && cd var && if command -v npm >/dev/null; then \
	    npm pack --silent mermaid@$(MERMAID) >/dev/null && \
	    tar -xzOf mermaid-$(MERMAID).tgz package/dist/mermaid.min.js >mermaid.download && rm mermaid-$(MERMAID).tgz && \
	    echo '$(MERMAID_SHA256)  mermaid.download' | sha256sum --check --quiet && mv mermaid.download mermaid.min.js; \
	else echo 'npm is missing: the site shows diagrams as text' >&2; fi

.PHONY: lock
lock: .venv/.dev ## Lock requirements*.in with hashes; ARGS=--upgrade to take newer versions
	@for name in requirements-runtime requirements requirements-dev benchmarks/dbos; do \
	    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	        --no-emit-find-links --no-header $(ARGS) $$name.in -o $$name.txt || exit 1; \
	done
	@echo "Locked requirements-runtime.txt, requirements.txt, requirements-dev.txt and benchmarks/dbos.txt"

.PHONY: cve
cve: .venv/.dev ## Ask for known vulnerabilities in what is locked
	@pip-audit --disable-pip --require-hashes -r requirements-dev.txt

.PHONY: bench
bench: .venv/.dev var/dbos/.made ## The shop beside others: a backlog, then over HTTP; ARGS=--quick
	@$(SERVICES) exec -- $(PY) -m benchmarks.compare $(ARGS)
	@exec $(SERVICES) exec -- $(PY) -m benchmarks.endtoend $(filter --quick,$(ARGS))

.PHONY: bench-door
bench-door: .venv/.dev ## The shop beside plain Celery and the floor over HTTP only; ARGS=--quick
	@exec $(SERVICES) exec -- $(PY) -m benchmarks.endtoend $(ARGS)

.PHONY: bench-guard
bench-guard: .venv/.dev ## Fail when the floor is too far ahead, or plain Celery too close over HTTP
	@$(SERVICES) exec -- $(PY) -m benchmarks.compare --guard 0.5 --rounds 3 --seconds 4
	@exec $(SERVICES) exec -- $(PY) -m benchmarks.endtoend --guard 2 --rounds 2 --seconds 4

.PHONY: clean
clean: ## Remove caches; var/ (data) and .venv stay
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov
	@find . -path ./.venv -prune -o -path ./var -prune -o -name __pycache__ -type d -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## Remove caches, data and .venv, and stop what was started
	@if [ -x $(PY) ] && [ -d var/services ]; then $(SERVICES) down; fi
	@rm -rf var .venv

# —— The virtual environment. Stamps, so that it is made once and again when a lock file changes. ——

need_python = [ -n "$(PYTHON)" ] || { echo "There is no python3 here. On Debian and Ubuntu: \
sudo apt-get install python3 python3-venv. Or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }

.venv/.runtime: requirements.txt
	@$(need_python)
	@$(PYTHON) scripts/venv.py $<
	@touch $@

# Holds all of requirements.txt, too, so one installation serves both.
.venv/.dev: requirements-dev.txt
	@$(need_python)
	@$(PYTHON) scripts/venv.py $<
	@touch .venv/.runtime $@

# What the shop is compared with brings psycopg 3, which Django would take instead of psycopg2.
var/dbos/.made: benchmarks/dbos.txt | .venv/.dev
	@echo "Installing DBOS into var/dbos ..." >&2
	@$(PY) -m venv --clear --without-pip var/dbos
	@$(PY) -m pip --python var/dbos/bin/python install --quiet --disable-pip-version-check \
	    --require-hashes --no-deps -r $<
	@touch $@
