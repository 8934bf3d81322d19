# Workers that are killed, hang or lie, and what their events come to. The long forms run for minutes: `make check-long`.
CHECKS += check-fault-workers

.PHONY: check-fault-workers check-long check-long-workers
check-fault-workers: all test-plugins
	$(PYTEST) -s tests/fault $(FAULT)

check-long: check-long-workers
check-long-workers: all test-plugins
	TOVA_LONG=1 $(PYTEST) -s tests/fault $(FAULT)
