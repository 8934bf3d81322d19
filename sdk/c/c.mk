# The C worker library, the program that runs a plugin as a worker, and the example.
SDK_C_OBJ  := $(patsubst %.c,$(BUILD)/lib/%.o,$(wildcard sdk/c/*.c sdk/common/*.c))
SDK_C_LIBS := $(shell pkg-config --libs jansson 2>/dev/null) -lnng -lpthread
SDK_C_OUT  := $(BUILD)/libtova-worker.a $(BUILD)/tova-worker $(BUILD)/examples/echo-worker

# Under the names that only it has: see sdk/c/names.h. Without link time optimization, whose objects no other compiler reads.
$(BUILD)/lib/%.o: %.c sdk/c/names.h $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(SDKFLAGS) -include sdk/c/names.h -c $< -o $@

$(BUILD)/libtova-worker.a: $(SDK_C_OBJ)
	@rm -f $@
	$(call quiet,AR)ar rcs $@ $^
	@nm -g --defined-only $@ | awk 'NF == 3 && $$3 !~ /^(tova_|__)/ {print "sdk/c/names.h has no " $$3; bad = 1} END {exit bad}'

$(BUILD)/tova-worker: $(BUILD)/lib/sdk/c/program/main.o $(BUILD)/libtova-worker.a
	$(call quiet,LINK)$(CC) $(LINK) $^ $(SDK_C_LIBS) -ldl -o $@

# As a user's program: nothing but the two headers and the library.
$(BUILD)/examples/%-worker: sdk/c/examples/%.c sdk/tova_plugin.h sdk/c/tova_worker.h $(BUILD)/libtova-worker.a
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(ALLFLAGS) -MF $@.d -fPIE -Isdk -Isdk/c $(filter %.c %.a,$^) -pie $(if $(SAN),-fsanitize=$(SAN)) $(SDK_C_LIBS) -o $@

all: $(SDK_C_OUT)

$(BUILD)/dist/%.pc: sdk/c/%.pc.in $(FLAGS_FILE)
	@mkdir -p $(@D)
	@sed $(DIST_SED) $< >$@

all: $(BUILD)/dist/tova-worker.pc
INSTALL += 755:$(BUILD)/tova-worker:$(PREFIX)/bin/tova-worker 644:$(BUILD)/libtova-worker.a:$(LIBDIR)/libtova-worker.a \
	644:sdk/c/tova_worker.h:$(PREFIX)/include/tova_worker.h 644:$(BUILD)/dist/tova-worker.pc:$(LIBDIR)/pkgconfig/tova-worker.pc

# The stories that every worker library tells, and what the whole stories need besides.
$(BUILD)/tests/e2e/%: tests/e2e/stories/%.c sdk/tova_plugin.h sdk/c/tova_worker.h $(BUILD)/libtova-worker.a
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(ALLFLAGS) -D_GNU_SOURCE -MF $@.d -fPIE -Isdk -Isdk/c $(filter %.c %.a,$^) -pie $(if $(SAN),-fsanitize=$(SAN)) \
		$(SDK_C_LIBS) -o $@

check-e2e: $(BUILD)/tests/e2e/stories test-plugins

# The client for programs that only push.
CLIENT_OBJ  := $(patsubst %.c,$(BUILD)/client/%.o,$(wildcard sdk/c/client/*.c) sdk/common/dump.c)
CLIENT_LIBS := $(shell pkg-config --libs libcurl jansson 2>/dev/null) -lpthread

$(BUILD)/client/%.o: %.c sdk/c/client/names.h $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(SDKFLAGS) $(shell pkg-config --cflags libcurl 2>/dev/null) -include sdk/c/client/names.h -c $< -o $@

$(BUILD)/libtova-client.a: $(CLIENT_OBJ)
	@rm -f $@
	$(call quiet,AR)ar rcs $@ $^

all: $(BUILD)/libtova-client.a $(BUILD)/dist/tova-client.pc
$(BUILD)/dist/tova-client.pc: sdk/c/client/tova-client.pc.in $(FLAGS_FILE)
	@mkdir -p $(@D)
	@sed $(DIST_SED) $< >$@
INSTALL += 644:$(BUILD)/libtova-client.a:$(LIBDIR)/libtova-client.a 644:sdk/c/client/tova_client.h:$(PREFIX)/include/tova_client.h \
	644:$(BUILD)/dist/tova-client.pc:$(LIBDIR)/pkgconfig/tova-client.pc

# What tests ask of it.
$(BUILD)/tests/e2e/pusher: tests/lib/pushers/driver.c sdk/c/client/tova_client.h $(BUILD)/libtova-client.a
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(ALLFLAGS) -D_GNU_SOURCE -MF $@.d -fPIE -Isdk/c/client $(filter %.c %.a,$^) -pie $(if $(SAN),-fsanitize=$(SAN)) $(CLIENT_LIBS) -o $@
test-plugins: $(BUILD)/tests/e2e/pusher
