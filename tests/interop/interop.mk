# Programs that were not written with the host in mind, against it: libnng and nngcat as peers of the worker link.
INTEROP_NNG := $(BUILD)/tests/interop/peer $(BUILD)/bench/nng-wedge

$(BUILD)/tests/interop/%: tests/interop/%.c
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(ALLFLAGS) $< -lnng -lpthread -o $@

# Why the host does not use libnng's sockets: make bench-nng-wedge shows it.
$(BUILD)/bench/nng-wedge: tests/bench/nng-wedge.c
	@mkdir -p $(@D)
	$(call quiet,LINK)$(CC) $(ALLFLAGS) $< -lnng -lpthread -o $@

.PHONY: check-interop bench-nng-wedge
check-interop: all test-plugins $(INTEROP_NNG)
	$(PYTEST) tests/interop

bench-nng-wedge: $(BUILD)/bench/nng-wedge
	-$<

CHECKS += check-interop

