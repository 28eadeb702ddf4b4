# Two commands are enough: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
DEMO   ?= demo
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test nightly lint clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "osteoedge needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# Phantoms -> float -> quantization-aware -> int8 bundle -> screenings, timings, report.
demo: $(READY)
	@mkdir -p $(DEMO)
	$(BIN)/osteoedge data phantom $(DEMO)/phantoms --count 600 --seed 1
	$(BIN)/osteoedge data phantom $(DEMO)/unseen --count 150 --seed 2
	$(BIN)/osteoedge train $(DEMO)/phantoms --out $(DEMO)/run --recipe phantom
	$(BIN)/osteoedge export $(DEMO)/run --out $(DEMO)/phantom.osteo
	$(BIN)/osteoedge screen $(DEMO)/unseen/images --bundle $(DEMO)/phantom.osteo --out $(DEMO)/screenings
	$(BIN)/osteoedge bench $(DEMO)/phantom.osteo --out $(DEMO)/bench.json --threads 1,2 \
		--report $(DEMO)/bench.html
	$(BIN)/osteoedge evaluate $(DEMO)/phantom.osteo $(DEMO)/run $(DEMO)/unseen --out $(DEMO)/report
	@echo
	@echo "SYNTHETIC: everything above was measured on drawings."
	@echo "  HTML report       $(DEMO)/report/report.html"
	@echo "  overlay pictures  $(DEMO)/screenings/*.png"
	@echo "  model bundle      $(DEMO)/phantom.osteo"
	@echo "  timings           $(DEMO)/bench.html"

test: $(READY)
	$(BIN)/python -m pytest -m "not nightly" -n 2 --dist worksteal

nightly: $(READY)
	$(BIN)/python -m pytest -m nightly

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(DEMO) build .pytest_cache .mypy_cache .ruff_cache
