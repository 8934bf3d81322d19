# The Python worker library against a host played by its tests; tests/e2e has the real one.
.PHONY: check-sdk-python
check-sdk-python:
	$(PYTEST) sdk/python/tests

CHECKS += check-sdk-python
