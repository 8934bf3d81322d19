# What the tests' folders share. Each brings a NAME.mk, which adds its targets to CHECKS. README.md beside this file tells about them.

# pytest, where xdist is there in several processes beside each other: most tests wait most of the time. TEST_JOBS=1: one after the other.
TEST_JOBS   ?= $(shell n=$$(nproc); echo $$((n < 8 ? 2 * n : 16)))
PYTEST       = TOVA_BUILD=$(BUILD) $(PYTHON) -B -m pytest -q -p no:cacheprovider $(PYTEST_JOBS)
PYTEST_JOBS  = $(if $(filter-out 1,$(TEST_JOBS)),$(shell $(PYTHON) -c 'import xdist' 2>/dev/null && echo --numprocesses=$(TEST_JOBS)))

# A report of a sanitizer fails the test whose host wrote it. The suppressions say why they are there.
export LSAN_OPTIONS ?= suppressions=$(CURDIR)/tests/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS ?= print_stacktrace=1

include $(wildcard tests/*/*.mk)

# What is not pytest's runs beside each other, each with its output in one piece; pytest's families follow, the longest last, so that the
# output ends with pytest's closing line.
CHECKS_BESIDE := check-layers check-unit check-valgrind check-fuzz-seeds check-instructions check-sdk-node check-sdk-web
CHECKS_LAST   := check-protocol check-protocol-valgrind check-install check-e2e
# For runs that have no use for some of them.
CHECKS_LEFT_OUT ?=
CHECKS_NOW     = $(filter-out $(CHECKS_LEFT_OUT),$(CHECKS))
CHECKS_BY_TURN = $(filter-out $(CHECKS_BESIDE) $(CHECKS_LAST),$(CHECKS_NOW)) $(filter $(CHECKS_NOW),$(CHECKS_LAST))
# Which have passed. None keeps the others from running.
CHECKED       := $(BUILD)/checked

# For the inner loop, in under three minutes: pure code, and the protocol with handlers in the host.
CHECKS_QUICK := check-layers check-unit check-fuzz-seeds check-instructions

.PHONY: check check-quick asan tsan
check-quick:
	+@$(again) all test-plugins
	+@for c in $(CHECKS_QUICK); do echo "== $$c"; $(again) $$c || { echo "$$c failed" >&2; exit 1; }; done
	TOVA_KINDS=plugin $(PYTEST) tests/protocol

check: | $(filter deps test-deps,$(MAKECMDGOALS))
	+@$(again) all
	+@rm -f $(CHECKED); \
	$(again) -k --output-sync=target $(addprefix passed-,$(filter $(CHECKS_NOW),$(CHECKS_BESIDE))); \
	for c in $(CHECKS_BY_TURN); do echo "== $$c"; $(again) passed-$$c; done; \
	failed=$$(for c in $(CHECKS_NOW); do grep -qsx $$c $(CHECKED) || echo " $$c"; done); \
	[ -z "$$failed" ] || { echo "failed:" $$failed >&2; exit 1; }

.PHONY: $(CHECKS:%=passed-%)
$(CHECKS:%=passed-%): passed-%: %
	@echo $* >>$(CHECKED)

# The whole suite again with every program instrumented, and more patience, since it is slower.
asan:
	+@TOVA_PATIENCE=60 $(again) BUILD=$(BUILD)/asan SAN=address,undefined check
tsan:
	+@TOVA_PATIENCE=60 $(again) BUILD=$(BUILD)/tsan SAN=thread check
