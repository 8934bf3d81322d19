# Byte conversations with a real host.
CHECKS += check-protocol check-protocol-valgrind

PROTOCOL_READY = $(BUILD)/tova-host $(PLUGINS) test-plugins
PYTEST = TOVA_BUILD=$(BUILD) $(PYTHON) -B -m pytest -q -p no:cacheprovider

.PHONY: check-protocol check-protocol-valgrind
check-protocol: $(PROTOCOL_READY)
	$(PYTEST) tests/protocol

# Memory errors and leaks that no assertion sees: a host that runs under valgrind has to end with code 0 and say nothing of its own. The
# sanitizers' builds see more but can not run under it, and it can not run them.
PROTOCOL_VALGRIND = tests/protocol/test_rooms.py tests/protocol/test_close.py tests/protocol/test_reload.py
check-protocol-valgrind: $(PROTOCOL_READY)
	TOVA_WRAP="valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,possible" TOVA_PATIENCE=120 \
	TOVA_CLIENT_TIMEOUT=60 $(PYTEST) $(PROTOCOL_VALGRIND)
