# Of check-fault, what is about workers that are killed, hang or lie. It runs with the others; this is for those who work on it.
FAULT_WORKERS := $(patsubst %,tests/fault/test_%.py,exactly_once atomic poison)
FAULT_ATOMIC  := $(BUILD)/tests/fault/atomic.so

$(FAULT_ATOMIC): tests/fault/atomic.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,SO)$(CC) $(ALLFLAGS) -fPIC -shared -Isdk $< -Wl,-z,relro -o $@

check-fault check-long-fault: $(FAULT_ATOMIC)

.PHONY: check-fault-workers
check-fault-workers: all test-plugins $(FAULT_ATOMIC)
	$(PYTEST) $(FAULT_WORKERS) $(FAULT)
