# What the tests' folders share. Each brings a NAME.mk, which adds its targets to CHECKS.
PYTEST = TOVA_BUILD=$(BUILD) $(PYTHON) -B -m pytest -q -p no:cacheprovider

# A report of a sanitizer fails the test whose host wrote it. The suppressions say why they are there.
export LSAN_OPTIONS ?= suppressions=$(CURDIR)/tests/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS ?= print_stacktrace=1

include $(wildcard tests/*/*.mk)

# The order in which they run: fast ones first, whole stories last, so that the output ends with pytest's closing line.
CHECKS_FIRST := check-layers check-unit check-valgrind check-fuzz-seeds
CHECKS_LAST  := check-protocol check-protocol-valgrind check-install check-e2e
CHECKS_ORDER := $(filter $(CHECKS),$(CHECKS_FIRST)) $(filter-out $(CHECKS_FIRST) $(CHECKS_LAST),$(CHECKS)) \
	$(filter $(CHECKS),$(CHECKS_LAST))
# For runs that have no use for some of them.
CHECKS_LEFT_OUT ?=

# For the inner loop, in under three minutes: pure code, and the protocol with handlers in the host.
CHECKS_QUICK := check-layers check-unit check-fuzz-seeds check-instructions

.PHONY: check check-quick asan tsan
check-quick:
	+@$(again) all test-plugins
	+@for c in $(CHECKS_QUICK); do echo "== $$c"; $(again) $$c || { echo "$$c failed" >&2; exit 1; }; done
	TOVA_KINDS=plugin $(PYTEST) tests/protocol

check: | $(filter deps test-deps,$(MAKECMDGOALS))
	+@$(again) all
	+@for c in $(filter-out $(CHECKS_LEFT_OUT),$(CHECKS_ORDER)); do \
		echo "== $$c"; \
		$(again) $$c || { echo "$$c failed" >&2; exit 1; }; \
	done

# The whole suite again with every program instrumented, and more patience, since it is slower.
asan:
	+@TOVA_PATIENCE=60 $(again) BUILD=$(BUILD)/asan SAN=address,undefined check
tsan:
	+@TOVA_PATIENCE=60 $(again) BUILD=$(BUILD)/tsan SAN=thread check
