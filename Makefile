# make demo : set up (once), then pretrain and compare GEDI, SwAV and Barlow Twins on digits
# make test : set up (once), then lint, types, import rules and the whole test suite
# make docs : set up (once), then run the tutorials and build the site into site/, every link checked
# make floors : the test suite on the lowest stated versions, in an environment of its own
# make coverage : the test suite, and which lines and branches it has not run
# make mutants : change the core, the library and the metrics in thousands of ways; which do no tests notice?
# make results : renew the tables of README.md and docs/*.md from docs/results/*.json
# make test SOLO_LEARN=/path/to/solo-learn : the same against a checkout of solo-learn's GitHub version
# make demo TORCH='torch torchvision --index-url ADDRESS' : PyTorch from another index, as its builds
#     for CPUs, which take 1 GB in place of 5.5
PYTHON ?= python3
TORCH ?= torch torchvision
VENV ?= .venv
BIN := $(VENV)/bin
SOLO_LEARN ?=
PYTEST := pytest --numprocesses auto --maxprocesses 4 --dist loadfile
RUN := $(if $(SOLO_LEARN),PYTHONPATH="$$(cd "$(SOLO_LEARN)" && pwd)")

.PHONY: demo test docs floors coverage mutants results setup browser clean

demo: setup
	$(RUN) $(BIN)/solo-gedi demo

test: setup browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(RUN) $(BIN)/python -m $(PYTEST)

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	touch $@

# The lowest versions of what the package depends on; the newest of what only its tests need.
floors:
	$(PYTHON) -m venv $(VENV)-floors
	$(VENV)-floors/bin/python -m pip install --quiet --upgrade pip uv
	$(VENV)-floors/bin/python -m uv pip install --python $(VENV)-floors/bin/python --resolution lowest-direct -e '.[all]'
	$(VENV)-floors/bin/python -m pip install -e '.[test]'
	$(VENV)-floors/bin/python -m pip install --no-deps solo-learn==1.0.2
	$(VENV)-floors/bin/python -m $(PYTEST)

coverage: setup
	$(RUN) $(BIN)/python -m $(PYTEST) --cov --cov-report=term-missing

mutants: setup
	$(BIN)/python -m pip install --quiet -e '.[mutants]'
	$(BIN)/python -m mutmut run
	$(BIN)/python -m mutmut results

results: setup
	$(BIN)/python -m docs.render

setup: $(VENV)/installed

# The stamp is written last, so an interrupted set-up is done again.
$(VENV)/installed: pyproject.toml setup.py Makefile
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 14) else "solo-gedi needs Python 3.10 to 3.14, not %d.%d: make PYTHON=python3.11" % v)'
	@echo "Set-up, once: 1 of 4, a Python environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "2 of 4, $(TORCH): minutes, and 5.5 GB where it is built for NVIDIA's GPUs"
	@[ "$(TORCH)" != "torch torchvision" ] || $(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 1e9; sys.platform == "linux" and free < 7 and print("Only %.1f GB are free. Builds for CPUs take 1 GB: make TORCH=\"torch torchvision --index-url ADDRESS\", with the address from the install page of PyTorch" % free)'
	@$(BIN)/python -m pip install --quiet $(TORCH)
	@echo "3 of 4, solo-gedi and what it and its tests need: a minute, and 1 GB"
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e '.[test]'
	@echo "4 of 4, solo-learn"
	@$(BIN)/python -m pip install --quiet --no-deps solo-learn==1.0.2
	@touch $@

# The test of the report opens it in Chromium. Debian's, where it can be installed.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	&& apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1 \
	|| echo "no Chromium here: the test that opens the report in a browser will be skipped"

clean:
	rm -rf $(VENV) $(VENV)-floors build site *.egg-info
