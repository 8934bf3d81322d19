# What can go wrong around the host: no memory, no descriptors, peers that reset, stall or never read. Long forms: make check-long.
FAULT_READY = $(BUILD)/tova-host $(PLUGINS) test-plugins $(BUILD)/tests/fault/nomem.so

$(BUILD)/tests/fault/%.so: tests/fault/%.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,SO)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 $(CFLAGS) -fno-builtin -MMD -MP -fPIC -shared $< -ldl -o $@

.PHONY: check-fault check-long-fault
check-fault: $(FAULT_READY)
	$(PYTEST) tests/fault

check-long-fault: $(FAULT_READY)
	TOVA_LONG=1 $(PYTEST) tests/fault

CHECKS += check-fault
CHECKS_LONG += check-long-fault
