PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2

.PHONY: demo test test-all check coverage docs clean

demo: .venv/.installed
	$(BIN)/fastem demo

# In under ten minutes on two cores when nothing is compiled yet; what is compiled stays in Numba's cache.
test: .venv/.tested
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

# Every test of every family.
test-all: .venv/.tested
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope -m ""

check: .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Kernels as plain Python, so that their lines are seen; then the serial twins with bounds checked.
coverage: .venv/.tested
	NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest -q tests/test_simd.py tests/test_kernels.py
	$(BIN)/coverage report --include='fastem/kernels/simd.py,fastem/kernels/vector_math.py,fastem/kernels/tiles.py,fastem/families/*,fastem/latent/*'
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=build/boundscheck $(BIN)/python -m pytest -q tests/test_simd.py tests/test_kernels.py tests/test_mixture.py \
		-k 'bounds or twins_give and float64 or weight_zero_may and Dirichlet'

docs: .venv/.documented
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build

.venv/.created:
	$(PYTHON) -m venv .venv
	touch $@

.venv/.installed: .venv/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	touch $@

.venv/.tested: .venv/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

.venv/.documented: .venv/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@

clean:
	rm -rf .venv build docs/_build docs/api fastem-demo
