# Byte conversations with a real host.
CHECKS += check-protocol
# Sanitizers and valgrind do not go together.
ifeq ($(SAN),)
CHECKS += check-protocol-valgrind
endif

PROTOCOL_READY = all test-plugins

# Who sends what when, with all output by io_uring; the rest as most hosts run.
PROTOCOL_URING = $(patsubst %,tests/protocol/test_%.py,rooms close limits model framing deflate)

.PHONY: check-protocol check-protocol-valgrind
check-protocol: $(PROTOCOL_READY)
	TOVA_HOST_OPTIONS="--io-uring 1" TOVA_KINDS=plugin $(PYTEST) $(PROTOCOL_URING)
	$(PYTEST) tests/protocol

# The same conversations where the hub's loop and the client's are two (test_threads.py has what only several loops can get wrong).
PROTOCOL_THREADS = $(patsubst %,tests/protocol/test_%.py,rooms framing handshake close stop)
.PHONY: check-threads
check-threads: $(PROTOCOL_READY)
	TOVA_THREADS=2 TOVA_KINDS=plugin $(PYTEST) $(PROTOCOL_THREADS)
CHECKS += check-threads

# Memory errors and leaks that no assertion sees: a host that runs under valgrind has to end with code 0 and say nothing of its own.
# Each host takes seconds to start, so of reloads and stops, which need one each, there are a few. What starts processes can not be
# seen so: the host starts them as /proc/self/exe, which is valgrind itself then.
PROTOCOL_VALGRIND = $(patsubst %,tests/protocol/test_%.py,rooms close plugin) $(patsubst %,tests/protocol/test_reload.py::test_%, \
	a_new_version_keeps_connections_rooms_data_and_timers more_data_with_a_hook a_library_that_does_not_load_keeps_the_old_one \
	code_that_can_not_be_unmapped_is_not_found_again) tests/protocol/test_stop.py::test_everyone_gets_1001
check-protocol-valgrind: $(PROTOCOL_READY)
	TOVA_WRAP="valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,possible" TOVA_PATIENCE=120 \
	TOVA_CLIENT_TIMEOUT=60 TOVA_KINDS=plugin $(PYTEST) $(PROTOCOL_VALGRIND)
