# Short names for scripts/dev.py, which needs nothing but Python.
.PHONY: setup demo test ci

setup demo test ci:
	@python3 scripts/dev.py $@
