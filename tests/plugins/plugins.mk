# Plugins for tests: the scriptable probe and its twins, plugins that must be refused, the interface from C++.
TEST_PLUGINS := $(patsubst tests/plugins/%.c,$(BUILD)/tests/plugins/%.so,$(filter-out tests/plugins/header.c,$(wildcard tests/plugins/*.c))) \
	$(BUILD)/tests/plugins/cpp_plugin.so $(BUILD)/tests/plugins/header_old.so $(patsubst %,$(BUILD)/tests/plugins/cpp_unique_%.so,1 2 3)

# No -z,defs: bad_undefined has to be linked to be refused. Nothing but the SDK header is in reach.
TEST_PLUGIN_LINK = -fPIC -shared -Isdk -Wl,-z,relro -lpthread

# The probe's parts are the same in all that are called after it.
PROBES    := $(patsubst tests/plugins/%.c,$(BUILD)/tests/plugins/%.so,$(wildcard tests/plugins/probe*.c))
PROBE_OBJ := $(patsubst tests/plugins/probe/%.c,$(BUILD)/tests/plugins/probe/%.o,$(wildcard tests/plugins/probe/*.c))
$(BUILD)/tests/plugins/probe/%.o: tests/plugins/probe/%.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(ALLFLAGS) -fPIC -fvisibility=hidden -Isdk -c $< -o $@

$(PROBES): $(BUILD)/tests/plugins/%.so: tests/plugins/%.c $(PROBE_OBJ)
	@mkdir -p $(@D)
	$(call quiet,SO)$(CC) $(ALLFLAGS) -fvisibility=hidden $< $(PROBE_OBJ) $(TEST_PLUGIN_LINK) -o $@

$(BUILD)/tests/plugins/%.so: tests/plugins/%.c
	@mkdir -p $(@D)
	$(CC) $(ALLFLAGS) $< $(TEST_PLUGIN_LINK) -o $@

# g++ warns of designated initializers that leave fields out, which is what they are for.
CXX_WARN = -Wall -Wextra -Werror -Wshadow -pedantic -Wno-missing-field-initializers

$(BUILD)/tests/plugins/cpp_plugin.so: tests/plugins/cpp_plugin.cc
	@mkdir -p $(@D)
	$(CXX) -std=c++20 $(CXX_WARN) $(OPT) $(CFLAGS) $(HARDEN) -MMD -MP $< $(TEST_PLUGIN_LINK) -o $@

$(BUILD)/tests/plugins/cpp_unique_%.so: tests/plugins/cpp_unique.cc
	@mkdir -p $(@D)
	$(CXX) -std=c++20 $(CXX_WARN) $(OPT) $(CFLAGS) $(HARDEN) -DVERSION='"$*"' -MMD -MP $< $(TEST_PLUGIN_LINK) -o $@

$(BUILD)/tests/plugins/header_old.so: tests/plugins/header_old.cc
	@mkdir -p $(@D)
	$(CXX) -std=c++11 $(CXX_WARN) $(OPT) $(CFLAGS) $(HARDEN) -MMD -MP $< $(TEST_PLUGIN_LINK) -o $@

# The header alone, in the strictest form of the oldest language it promises.
$(BUILD)/tests/plugins/header.o: tests/plugins/header.c
	@mkdir -p $(@D)
	$(CC) -std=c99 -pedantic-errors $(WARN) -Wc++-compat -MMD -MP -Isdk -c $< -o $@

.PHONY: test-plugins
test-plugins: $(TEST_PLUGINS) $(BUILD)/tests/plugins/header.o
