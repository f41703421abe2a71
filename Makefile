# make docs: build the site into build/site. It needs pip install '.[docs]'.
docs:
	python -m sphinx -W --keep-going -q -c docs/site . build/site
	@echo "open build/site/index.html"

.PHONY: docs
