# make bench-bounds: memory and turns under attacks on each bound; BENCH names some of them.
# The benchmark: make bench (the table), make bench-quick (under two minutes), make bench-growth (curves), make bench-workers (what a
# handler in another process costs), the latter two with a -quick form, too; make bench-slow (clients that do not read); make bench-deps (the servers it compares with).
# BENCH narrows it: make bench BENCH="--rows 'depth 16' --servers bare,tova-host".
BENCH_LOAD  := load client transport squeeze message probe echo fanout churn idle lone pause rooms slow
BENCH_FLAGS  = -std=gnu11 $(WARN) -O2 $(CFLAGS) -MMD -MP
BENCH_WORKERS = $(BUILD)/bench/load $(BUILD)/bench/bare $(BUILD)/bench/unix_echo $(BUILD)/bench/echo-worker
BENCH_LWS   := $(wildcard /usr/include/libwebsockets.h)
BENCH_BIN    = $(BUILD)/bench/load $(BUILD)/bench/bare $(BUILD)/bench/echo-worker $(BUILD)/bench/relay-worker \
	$(BUILD)/bench/plugins/rooms.so $(if $(BENCH_LWS),$(BUILD)/bench/lws)
PKGS_BENCH  := gcc make pkg-config libssl-dev zlib1g-dev libwebsockets-dev openssl python3 python3-matplotlib websocketd libpcre2-8-0

$(BUILD)/bench/%.o: tests/bench/%.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(BENCH_FLAGS) -c $< -o $@

$(BUILD)/bench/load: $(BENCH_LOAD:%=$(BUILD)/bench/%.o)
	$(call quiet,LINK)$(CC) $^ -lssl -lcrypto -lz -o $@

$(BUILD)/bench/bare: $(BUILD)/bench/bare.o
	$(call quiet,LINK)$(CC) $^ -lcrypto -o $@

$(BUILD)/bench/unix_echo: $(BUILD)/bench/unix_echo.o $(BUILD)/bench/message.o
	$(call quiet,LINK)$(CC) $^ -o $@

# As a user's program: nothing but the two headers and the library.
$(BUILD)/bench/%-worker: tests/bench/workers/%.c sdk/tova_plugin.h sdk/c/tova_worker.h $(BUILD)/libtova-worker.a
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(BENCH_FLAGS) -MF $@.d -Isdk -Isdk/c $(filter %.c %.a,$^) $(SDK_C_LIBS) -o $@

$(BUILD)/bench/lws: $(BUILD)/bench/lws.o
	$(call quiet,LINK)$(CC) $^ $(shell pkg-config --libs libwebsockets) -o $@

.PHONY: bench-resume bench-chat bench-bounds bench-slow bench-ops bench bench-quick bench-readme bench-growth bench-growth-quick bench-workers bench-workers-quick bench-deps check-bench
bench: all $(BENCH_BIN)
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/run.py $(BENCH)

bench-resume: all test-plugins
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/resume.py $(BENCH)

bench-quick: all $(BENCH_BIN)
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/run.py --quick $(BENCH)

# All of it, for README.md and the pictures beside this file, on a machine that does nothing else: about 40 minutes, or with
# BENCH="--rounds 2 --seconds 0.6 --warmup 0.3" about 15.
bench-readme: all $(BENCH_BIN) $(BENCH_WORKERS)
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/run.py $(BENCH)
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/workers.py --handlers reload
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/growth.py $(BENCH)
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/readme.py

bench-growth: all $(BENCH_BIN)
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/growth.py $(BENCH)

bench-growth-quick: all $(BENCH_BIN)
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/growth.py --quick $(BENCH)

# Ten thousand members of a room, of whom a hundred read nothing: what the others notice, under each policy.
bench-slow: all $(BUILD)/bench/load
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/slow.py $(BENCH)

bench-bounds: all test-plugins
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/bounds.py $(BENCH)

# Scrapes and lists of everything while as many connections are busy as descriptors allow: the loop's longest turn, and the API's part of it.
bench-ops: all $(BUILD)/bench/load
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/ops.py $(BENCH)

# A message of the chat in each of its languages.
bench-chat: all
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/chat.py $(BENCH)

bench-workers: all $(BENCH_WORKERS)
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/workers.py $(BENCH)

bench-workers-quick: all $(BENCH_WORKERS)
	TOVA_BUILD=$(BUILD) $(PYTHON) -B tests/bench/workers.py --quick $(BENCH)

# A Node.js that is there already, from wherever, is kept. nginx is only unpacked: installed it would start serving this machine.
bench-deps: $(BUILD)/bench/nginx
	$(call apt_install,$(PKGS_BENCH) $(if $(shell command -v npm),,nodejs npm))
	cd tests/bench/peers && npm ci --ignore-scripts

$(BUILD)/bench/nginx:
	rm -rf $@.part && mkdir -p $@.part
	cd $@.part && apt-get download nginx libnginx-mod-nchan && for p in *.deb; do dpkg-deb -x $$p . || exit 1; done
	mv $@.part $@

# Does the generator notice servers that lose, repeat or change something?
check-bench: all $(BUILD)/bench/load $(BUILD)/bench/bare
	TOVA_BUILD=$(BUILD) $(PYTHON) -B -m pytest -q -p no:cacheprovider tests/bench
CHECKS += check-bench

# --- instructions -------------------------------------------------------------------------------------------------------------
# Does the host's own code take more instructions for the same conversation than the committed figures say? README.md tells how.
$(BUILD)/bench/plugins/%.so: tests/bench/plugins/%.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,SO)$(CC) $(ALLFLAGS) -fPIC -shared -Isdk $< -Wl,-z,relro,-z,now -o $@

$(BUILD)/bench/conversation: tests/bench/instructions/conversation.c $(HOST_A) $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,TEST)$(CC) $(HOSTFLAGS) $(UNIT_PC) -MT $@ -MF $@.d $< $(LINK) $(HOST_A) $(LIBS) $(UNIT_LIB) -o $@

INSTRUCTIONS = $(PYTHON) -B tests/bench/instructions/guard.py \
	--build '$(shell echo __VERSION__ | $(CC) -E -P -xc - | tr -d '"') $(strip $(OPT) $(CFLAGS) $(HARDEN) $(EXTRA))'
INSTRUCTIONS_OF = $(BUILD)/bench/conversation $(BUILD)/plugins $(BUILD)/bench/plugins

.PHONY: check-instructions update-instructions
ifeq ($(SAN),)
check-instructions: all $(BUILD)/bench/conversation $(BUILD)/bench/plugins/rooms.so
	@$(INSTRUCTIONS) $(INSTRUCTIONS_OF)
	@$(INSTRUCTIONS) --measures $(INSTRUCTIONS_OF)
update-instructions: all $(BUILD)/bench/conversation $(BUILD)/bench/plugins/rooms.so
	@$(INSTRUCTIONS) --update $(INSTRUCTIONS_OF)
else
check-instructions update-instructions:
	@echo "skipped: with sanitizers ($(SAN)) the host takes other instructions"
endif
CHECKS += check-instructions
