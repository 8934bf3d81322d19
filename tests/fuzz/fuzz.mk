# Fuzzing: tests/fuzz/fuzz_NAME.c holds a libFuzzer entry, seeds/NAME/ its first inputs, NAME.dict (if any) its words.
# `make fuzz` needs clang and runs each for FUZZ_SECONDS; `make check` replays the seeds with the ordinary compiler.
FUZZ_SECONDS ?= 60
FUZZ_CC      ?= clang
FUZZ_NAMES   := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ         ?= $(FUZZ_NAMES)
FUZZ_REPLAY  := $(FUZZ_NAMES:%=$(BUILD)/tests/fuzz/replay_%)

$(BUILD)/tests/fuzz/replay_%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c $(HOST_A) $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,TEST)$(CC) $(HOSTFLAGS) -MT $@ -MF $@.d tests/fuzz/replay.c -x c $< -x none $(LINK) $(HOST_A) $(LIBS) -o $@

.PHONY: check-fuzz-seeds fuzz
check-fuzz-seeds: $(FUZZ_REPLAY)
	@echo '== $@'
	@for t in $(FUZZ_NAMES); do $(BUILD)/tests/fuzz/replay_$$t tests/fuzz/seeds/$$t/* || exit 1; done
CHECKS += check-fuzz-seeds

# The host again, instrumented.
$(BUILD)/fuzz/%: OPT := -O1
$(BUILD)/fuzz/%: HARDEN := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
$(BUILD)/fuzz/obj/%.o: %.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,CC)$(FUZZ_CC) $(HOSTFLAGS) -c $< -o $@

.SECONDARY: $(FUZZ_NAMES:%=$(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o)
$(BUILD)/fuzz/libtova.a: $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(SRC_LIB) $(SRC_COMMON))
	@rm -f $@
	$(call quiet,AR)ar rcs $@ $^

$(BUILD)/fuzz/fuzz_%: $(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o $(BUILD)/fuzz/libtova.a
	$(call quiet,LINK)$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -pie $^ $(LIBS) -o $@

# What a run finds stays in $(BUILD)/fuzz/corpus and is where the next run begins; an input that fails is left in $(BUILD)/fuzz/.
fuzz: $(FUZZ:%=$(BUILD)/fuzz/fuzz_%)
	@for t in $(FUZZ); do \
		mkdir -p $(BUILD)/fuzz/corpus/$$t; dict=; \
		[ ! -f tests/fuzz/$$t.dict ] || dict=-dict=tests/fuzz/$$t.dict; \
		echo "fuzz $$t for $(FUZZ_SECONDS) s"; \
		$(BUILD)/fuzz/fuzz_$$t -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 $$dict \
			-artifact_prefix=$(BUILD)/fuzz/$$t- $(BUILD)/fuzz/corpus/$$t tests/fuzz/seeds/$$t || exit 1; \
	done
