# The commands of README.md by the names people try first; each line is one of there. `make` alone lists them.
#
#   make search ARGS="task=mortality n_trials=100"     arguments of the command behind it

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev quickstart test lint search serve docs compose-up licences sbom

ARGS ?=
BUNDLE ?= runs/quickstart/bundle
BIN := .venv/bin

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

setup:  ## .venv, of the locked versions
	scripts/environment.sh

setup-dev:  ## .venv, with what tests, linters and the documentation need, and hooks before each commit
	scripts/environment.sh --dev
	$(BIN)/pre-commit install

quickstart:  ## environment, data, a first nested search, its leaderboard
	scripts/quickstart.sh $(ARGS)

test:  ## environment, lint, types, the whole test suite (ARGS: for pytest)
	scripts/test.sh $(ARGS)

lint:  ## the same without the tests
	scripts/test.sh --lint

search:  ## a search (ARGS: its settings)
	$(BIN)/ehrbench search $(ARGS)

serve:  ## answer HTTP requests from a bundle (BUNDLE)
	$(BIN)/ehrbench serve --bundle $(BUNDLE) $(ARGS)

docs:  ## this documentation as a site, in .site/
	$(BIN)/mkdocs build --strict

compose-up:  ## MySQL and MLflow in containers, for many workers (.env first)
	docker compose up -d mysql mlflow

licences:  ## licences of all that is installed; stops at one that the project may not carry
	scripts/licences.sh

sbom:  ## what the server's image holds, as CycloneDX (sbom.json)
	@scripts/locked.py served | $(BIN)/cyclonedx-py requirements \
		--output-reproducible --output-file sbom.json -
