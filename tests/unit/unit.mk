# One binary per tests/unit/test_*.c, written with Check, linked with the whole host except its main.
UNIT_BIN := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))
UNIT_PC  := $(shell pkg-config --cflags check 2>/dev/null)
UNIT_LIB := $(shell pkg-config --libs check 2>/dev/null)

$(BUILD)/tests/unit/%: tests/unit/%.c $(HOST_A) $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,TEST)$(CC) $(HOSTFLAGS) $(UNIT_PC) -MT $@ -MF $@.d $< $(LINK) $(UNIT_WRAP) $(HOST_A) $(LIBS) $(UNIT_LIB) -o $@

# What must survive a lack of memory at any moment: the test decides when there is none.
$(BUILD)/tests/unit/test_frame: UNIT_WRAP := -Wl,--wrap=realloc
$(BUILD)/tests/unit/test_inflate: UNIT_WRAP := -Wl,--wrap=realloc,--wrap=calloc
$(BUILD)/tests/unit/test_deflate_context: UNIT_WRAP := -Wl,--wrap=malloc,--wrap=calloc
$(BUILD)/tests/unit/test_codec_write: UNIT_WRAP := -Wl,--wrap=malloc,--wrap=realloc
$(BUILD)/tests/unit/test_deadletter: UNIT_WRAP := -Wl,--wrap=realloc,--wrap=fdatasync,--wrap=fsync
$(BUILD)/tests/unit/test_sp: UNIT_WRAP := -Wl,--wrap=realloc,--wrap=loop_timer_set,--wrap=accept4
$(BUILD)/tests/unit/test_push: UNIT_WRAP := -Wl,--wrap=calloc
$(BUILD)/tests/unit/test_dump: UNIT_WRAP := -Wl,--wrap=malloc
$(BUILD)/tests/unit/test_hash_table: UNIT_WRAP := -Wl,--wrap=calloc
$(BUILD)/tests/unit/test_buffer: UNIT_WRAP := -Wl,--wrap=realloc
$(BUILD)/tests/unit/test_addr_limits: UNIT_WRAP := -Wl,--wrap=malloc,--wrap=calloc,--wrap=free
$(BUILD)/tests/unit/test_token: UNIT_WRAP := -Wl,--wrap=malloc,--wrap=calloc
$(BUILD)/tests/unit/test_outq: UNIT_WRAP := -Wl,--wrap=malloc,--wrap=realloc
$(BUILD)/tests/unit/test_outq_notes: UNIT_WRAP := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
$(BUILD)/tests/unit/test_uring: UNIT_WRAP := -Wl,--wrap=io_uring_submit_and_wait
$(BUILD)/tests/unit/test_ring: UNIT_WRAP := -Wl,--wrap=malloc
# Lets time pass.
$(BUILD)/tests/unit/test_ping: UNIT_WRAP := -Wl,--wrap=clock_gettime
$(BUILD)/tests/unit/test_tls: UNIT_WRAP := -Wl,--wrap=clock_gettime,--wrap=X509_cmp_current_time,--wrap=realloc
# Counts allocations while the plugins work.
$(BUILD)/tests/unit/test_alloc $(BUILD)/tests/unit/test_memory: UNIT_WRAP := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
$(BUILD)/tests/unit/test_alloc: | $(PLUGINS)

# Each run of a program is a target of its own, so that make runs them beside each other, and says what it has to say at its end.
UNIT_RUN := $(UNIT_BIN:%=%.run)
# What sends: once more with all output by io_uring.
UNIT_URING := $(patsubst %,$(BUILD)/tests/unit/test_%.uring,hub pause settle delivery timer memory)
# Not the one that sends by the hundred thousand to count allocations, nor the one that repeats a conversation for each allocation that
# may fail: under valgrind they take many minutes. make asan watches them for the same faults.
UNIT_VALGRIND := $(patsubst %,%.valgrind,$(filter-out %/test_alloc %/test_memory,$(UNIT_BIN)))
UNIT_LEAKS := --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect

.PHONY: check-unit check-valgrind $(UNIT_RUN) $(UNIT_URING) $(UNIT_VALGRIND)
$(UNIT_RUN): %.run: %
	@said=$$(CK_DEFAULT_TIMEOUT=120 $< 2>&1); code=$$?; echo "$$said"; exit $$code
$(UNIT_URING): %.uring: %
	@said=$$(TOVA_URING=1 CK_DEFAULT_TIMEOUT=120 $< 2>&1); code=$$?; echo "$$said"; exit $$code
$(UNIT_VALGRIND): %.valgrind: %
	@said=$$(CK_FORK=no valgrind -q --error-exitcode=1 $(UNIT_LEAKS) $< 2>&1); code=$$?; echo "$$said"; exit $$code

check-unit: $(UNIT_RUN) $(UNIT_URING)
check-valgrind: $(UNIT_VALGRIND)

CHECKS += check-unit
# Sanitizers and valgrind do not go together.
ifeq ($(SAN),)
CHECKS += check-valgrind
endif
