# The allocator that tests/fault/test_no_memory.py preloads.
$(BUILD)/tests/fault/%.so: tests/fault/%.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,SO)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 $(CFLAGS) -fno-builtin -MMD -MP -fPIC -shared $< -ldl -o $@

check-fault-workers check-long-workers: $(BUILD)/tests/fault/nomem.so

# The client of tests/fault/test_resume_run.py.
RESUME_RUN     := $(BUILD)/tests/fault/resume-run
RESUME_RUN_SRC := $(wildcard tests/fault/resume/*.c)

$(RESUME_RUN): $(RESUME_RUN_SRC) $(wildcard tests/fault/resume/*.h) tests/bench/squeeze.c tests/bench/squeeze.h $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) -std=gnu11 $(WARN) -O2 $(CFLAGS) -Itests/bench $(filter %.c,$^) -lssl -lcrypto -lz -o $@

check-fault-workers check-long-workers: $(RESUME_RUN)
