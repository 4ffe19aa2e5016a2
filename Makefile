# `make help` lists the commands; README.md says what to expect of each.

PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
READY := .venv/.ready

.PHONY: help book test lab refresh clean

help:
	@echo "make book     build the book and say where its first page is"
	@echo "make test     run every notebook and every test"
	@echo "make lab      open the book in JupyterLab"
	@echo "make refresh  run all notebooks and store their outputs (one of them: make refresh NOTEBOOK=book/start.ipynb)"
	@echo "make clean    remove what was built; the environment in .venv stays"

book: $(READY)
	$(BIN)/jupyter-book build . --all -q
	@echo "The book is ready. Open this page in a browser:"
	@echo "$(CURDIR)/_build/html/index.html"

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --nbval -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder tests book

lab: $(READY)
	$(BIN)/jupyter lab book

refresh: $(READY)
	$(BIN)/python tools/refresh.py $(NOTEBOOK)

clean:
	rm -rf _build build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find book mae tests tools -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# The stamp is touched last, so an installation that was cut short is taken up again.
$(READY): requirements.txt pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) was not found. Install Python 3.11, 3.12 or 3.13."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "$(PYTHON) is Python %d.%d; this book needs 3.11, 3.12 or 3.13. Name another one, as in: make $(MAKECMDGOALS) PYTHON=python3.12" % v)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	@echo "Installing into .venv: once, a few minutes ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
