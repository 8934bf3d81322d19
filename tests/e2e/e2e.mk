# Whole stories with real processes and real browsers. E2E narrows what runs: make check-e2e E2E="-k restart -x".
.PHONY: check-e2e
check-e2e: all
	$(PYTEST) tests/e2e $(E2E)

CHECKS += check-e2e
