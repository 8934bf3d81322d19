# What can go wrong around the host: workers that are killed, hang or lie, no memory, storms. Long forms: make check-long, which takes
# many minutes. FAULT narrows what runs: make check-fault-workers FAULT="-k poison".
CHECKS += check-fault-workers

FAULT_ATOMIC := $(BUILD)/tests/fault/atomic.so

$(FAULT_ATOMIC): tests/fault/atomic.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,SO)$(CC) $(ALLFLAGS) -fPIC -shared -Isdk $< -Wl,-z,relro -o $@

.PHONY: check-fault-workers check-long check-long-workers
check-fault-workers: all test-plugins $(FAULT_ATOMIC)
	$(PYTEST) tests/fault $(FAULT)

check-long: check-long-workers
check-long-workers: all test-plugins $(FAULT_ATOMIC)
	TOVA_LONG=1 $(PYTEST) tests/fault $(FAULT)
