# Plugins for tests: the scriptable probe and its twins, plugins that must be refused, the interface from C++.
TEST_PLUGINS := $(patsubst tests/plugins/%.c,$(BUILD)/tests/plugins/%.so,$(filter-out tests/plugins/header.c,$(wildcard tests/plugins/*.c))) \
	$(BUILD)/tests/plugins/cpp_plugin.so $(BUILD)/tests/plugins/header_old.so $(patsubst %,$(BUILD)/tests/plugins/cpp_unique_%.so,1 2 3)

# No -z,defs: bad_undefined has to be linked to be refused. Nothing but the SDK header is in reach.
TEST_PLUGIN_LINK = -fPIC -shared -Isdk -Wl,-z,relro -lpthread

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
