# The allocator that tests/fault/test_no_memory.py preloads.
$(BUILD)/tests/fault/%.so: tests/fault/%.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,SO)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 $(CFLAGS) -fno-builtin -MMD -MP -fPIC -shared $< -ldl -o $@

check-fault-workers check-long-workers: $(BUILD)/tests/fault/nomem.so
