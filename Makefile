# Every target makes what it needs and is quick when nothing changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := build/demo
WEB := examples/web
WEB_INSTALLED := $(WEB)/node_modules/.installed

.PHONY: demo test lint matrix auto peers web browser clean help

help:
	@echo "make demo   train both models, export, prove and measure them ($(DEMO))"
	@echo "make test   run the tests"
	@echo "make matrix export many models in every recipe and report (build/matrix)"
	@echo "make auto   --recipe auto beside every fixed recipe, on the demo's models (benchmarks/results)"
	@echo "make web    fetch onnxruntime-web for $(WEB)"
	@echo "make browser fetch what the browser tests need: Chromium and onnxruntime-web"
	@echo "make peers  edgedl beside LiteRT, OpenVINO and others (benchmarks/results); wants the demo"
	@echo "make lint   ruff, mypy, import contracts"
	@echo "make clean  remove build/, $(VENV) and node_modules/"

$(INSTALLED): pyproject.toml tests/constraints.txt
	@echo "Setting up $(VENV) (a few minutes the first time: TensorFlow and PyTorch are large)" >&2
	$(PYTHON) -c 'import sys; sys.exit("edgedl needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c tests/constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -m benchmarks.demo --out $(DEMO) $(DEMO_FLAGS)

test: $(INSTALLED) browser
	$(BIN)/python -m pytest

web: $(WEB_INSTALLED)

$(WEB_INSTALLED): $(WEB)/package.json $(WEB)/package-lock.json
	@command -v npm >/dev/null || { echo "make web needs npm (Debian: apt-get install npm)" >&2; exit 1; }
	cd $(WEB) && npm ci
	touch $@

browser:
	@.ci/browser

matrix: $(INSTALLED)
	$(BIN)/python -m tests.matrix.run $(MATRIX_FLAGS)

auto: $(INSTALLED)
	$(BIN)/python -m benchmarks.auto --demo $(DEMO) $(AUTO_FLAGS)

peers: $(INSTALLED)
	$(BIN)/python -m benchmarks.peers --demo $(DEMO) $(PEERS_FLAGS)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf build $(VENV) $(WEB)/node_modules
