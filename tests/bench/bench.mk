# The benchmark: make bench (everything), make bench-quick (under two minutes), make bench-deps (the servers it compares with).
BENCH_LOAD  := load client message probe echo fanout churn idle
BENCH_FLAGS  = -std=gnu11 $(WARN) -O2 $(CFLAGS) -MMD -MP
BENCH_BIN    = $(BUILD)/bench/load $(BUILD)/bench/bare $(if $(wildcard /usr/include/libwebsockets.h),$(BUILD)/bench/lws)
PKGS_BENCH  := gcc make pkg-config libssl-dev libwebsockets-dev python3

$(BUILD)/bench/%.o: tests/bench/%.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) -c $< -o $@

$(BUILD)/bench/load: $(BENCH_LOAD:%=$(BUILD)/bench/%.o)
	$(CC) $^ -o $@

$(BUILD)/bench/bare: $(BUILD)/bench/bare.o
	$(CC) $^ -lcrypto -o $@

$(BUILD)/bench/lws: $(BUILD)/bench/lws.o
	$(CC) $^ $(shell pkg-config --libs libwebsockets) -o $@

.PHONY: bench bench-quick bench-deps
bench: $(BENCH_BIN)
	TOVA_BUILD=$(BUILD) $(PYTHON) tests/bench/run.py

bench-quick: $(BENCH_BIN)
	TOVA_BUILD=$(BUILD) $(PYTHON) tests/bench/run.py --quick

# A Node.js that is there already, from wherever, is kept.
bench-deps:
	$(call apt_install,$(PKGS_BENCH) $(if $(shell command -v npm),,nodejs npm))
	cd tests/bench/peers && npm ci --ignore-scripts
