# What runs .tova programs: the library that plugins/tova.so and tests share, in objects that may lie anywhere. The translator, which needs no
# Lua, is part of libtova-common.a, too, as the host checks programs.
TOVA_LUA_CFLAGS := $(shell pkg-config --cflags lua5.4 2>/dev/null)
TOVA_LUA_LIBS   := $(shell pkg-config --libs lua5.4 2>/dev/null) -lm
TOVA_RUN_OBJ    := $(patsubst %.c,$(BUILD)/pic/%.o,$(wildcard sdk/tova/runtime/*.c))
TOVA_PIC_OBJ    := $(TOVA_RUN_OBJ) $(patsubst %.c,$(BUILD)/pic/%.o,$(wildcard sdk/tova/*.c) \
	$(addprefix sdk/common/,buffer.c json.c nearest.c rules.c utf8.c wide.c))

$(BUILD)/pic/%.o: %.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(SDKFLAGS) -fPIC -fvisibility=hidden $(TOVA_LUA_CFLAGS) -c $< -o $@

# Tests of what runs programs, without a host.
TOVA_UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_tova_run*.c))
$(TOVA_UNIT): $(TOVA_RUN_OBJ)
$(TOVA_UNIT): HOSTFLAGS += $(TOVA_LUA_CFLAGS)
$(TOVA_UNIT): UNIT_WRAP := $(TOVA_RUN_OBJ) $(TOVA_LUA_LIBS)

# The fuzzer of the translator has Lua judge what comes out.
$(BUILD)/tests/fuzz/replay_tova $(BUILD)/fuzz/obj/tests/fuzz/fuzz_tova.o: HOSTFLAGS += $(TOVA_LUA_CFLAGS)
$(BUILD)/tests/fuzz/replay_tova $(BUILD)/fuzz/fuzz_tova: LIBS += $(TOVA_LUA_LIBS)

# The plugin. It has more than one file, and Lua instead of jansson.
$(BUILD)/plugins/tova.so: $(BUILD)/pic/plugins/tova.o $(TOVA_PIC_OBJ)
	@mkdir -p $(@D)
	$(call quiet,SO)$(CC) $(OPT) $(CFLAGS) $(HARDEN) -shared -fPIC $^ -Wl,-z,relro,-z,now -Wl,--as-needed $(TOVA_LUA_LIBS) -o $@
