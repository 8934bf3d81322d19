# Byte conversations with a real host.
CHECKS += check-protocol
# Sanitizers and valgrind do not go together.
ifeq ($(SAN),)
CHECKS += check-protocol-valgrind
endif

PROTOCOL_READY = $(BUILD)/tova-host $(PLUGINS) test-plugins

.PHONY: check-protocol check-protocol-valgrind
check-protocol: $(PROTOCOL_READY)
	$(PYTEST) tests/protocol

# Memory errors and leaks that no assertion sees: a host that runs under valgrind has to end with code 0 and say nothing of its own.
PROTOCOL_VALGRIND = $(patsubst %,tests/protocol/test_%.py,rooms close reload plugin stop)
check-protocol-valgrind: $(PROTOCOL_READY)
	TOVA_WRAP="valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,possible" TOVA_PATIENCE=120 \
	TOVA_CLIENT_TIMEOUT=60 $(PYTEST) $(PROTOCOL_VALGRIND)
