# The harness for tests of plugins. What is common it has as the worker library has it, under names that only these have; its own
# functions, too (sdk/test/names.h).
SDK_TEST_OBJ := $(patsubst %.c,$(BUILD)/lib/%.o,$(wildcard sdk/test/*.c sdk/common/*.c))

$(BUILD)/lib/sdk/test/%.o: sdk/test/%.c sdk/test/names.h sdk/c/names.h $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(SDKFLAGS) -include sdk/c/names.h -include sdk/test/names.h -c $< -o $@

$(BUILD)/libtova-test.a: $(SDK_TEST_OBJ)
	@rm -f $@
	$(call quiet,AR)ar rcs $@ $^
	@nm -g --defined-only $@ | awk 'NF == 3 && $$3 !~ /^(tova_|__)/ {print "sdk/test/names.h has no " $$3; bad = 1} END {exit bad}'

$(BUILD)/dist/tova-test.pc: sdk/test/tova-test.pc.in $(FLAGS_FILE)
	@mkdir -p $(@D)
	@sed $(DIST_SED) $< >$@

all: $(BUILD)/libtova-test.a $(BUILD)/dist/tova-test.pc
INSTALL += 644:$(BUILD)/libtova-test.a:$(LIBDIR)/libtova-test.a 644:sdk/test/tova_test.h:$(PREFIX)/include/tova_test.h \
	644:$(BUILD)/dist/tova-test.pc:$(LIBDIR)/pkgconfig/tova-test.pc

# As an author of plugins has it: the plugins of this tree, each with its test.
SDK_TESTS := $(patsubst tests/harness/%.c,$(BUILD)/tests/harness/%,$(wildcard tests/harness/*.c))
$(BUILD)/tests/harness/%: tests/harness/%.c $(BUILD)/libtova-test.a sdk/test/tova_test.h sdk/tova_plugin.h $(wildcard plugins/*.c)
	@mkdir -p $(@D)
	$(call quiet,TEST)$(CC) $(ALLFLAGS) -MF $@.d -Isdk -Isdk/test $(shell pkg-config --cflags jansson) $< $(BUILD)/libtova-test.a \
		$(if $(SAN),-fsanitize=$(SAN)) -lpthread -ljansson -o $@

.PHONY: check-sdk-test
check-sdk-test: $(SDK_TESTS)
	@for t in $^; do $$t || exit 1; done
CHECKS += check-sdk-test
