# What a script can check, no reviewer has to. check-layers is part of `make check`; the rest wants `make lint-deps`.
PKGS_LINT   := clang-format clang-tidy cppcheck shellcheck flake8
LINT_SRC    := $(wildcard host/*.c host/*/*.c host/*/*/*.c sdk/common/*.c sdk/tova/*.c sdk/tova/runtime/*.c plugins/*.c)
# All there is; some of a fuzzer's inputs are named as if they were C.
LINT_FORMAT := $(shell find host sdk plugins examples tests -path tests/fuzz/seeds -prune -o \( -name '*.[ch]' -o -name '*.cc' \) -print)
# Its own guesses about configurations cost more than they find; unused functions are told by -Werror and by the linker.
# It knows the lists of sys/queue.h only if it is told of that file.
QUEUE_H  := $(firstword $(wildcard /usr/include/*/sys/queue.h /usr/include/sys/queue.h))
CPPCHECK := cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability,performance --inline-suppr \
	--suppress=missingInclude --suppress=missingIncludeSystem --suppressions-list=tests/lint/cppcheck.supp -Ihost -Isdk \
	-D_GNU_SOURCE -D__linux__ -D__GNUC__ $(QUEUE_H:%=--include=%) '-DTOVA_VERSION="0"' '-DTOVA_PLUGIN_DIR="/"'

CHECKS += check-layers
.PHONY: lint lint-deps check-layers lint-format lint-tidy lint-cppcheck lint-python lint-shell format
check-layers:
	@echo '== $@'
	@$(PYTHON) -B tests/lint/layers.py
	@$(PYTHON) -B tests/lint/prototypes.py

lint: check-layers lint-format lint-tidy lint-cppcheck lint-python lint-shell
lint-deps:
	$(call apt_install,$(PKGS_BUILD) $(PKGS_LINT))
lint-format:
	@clang-format --dry-run -Werror $(LINT_FORMAT)
lint-tidy: $(LINT_SRC:%=$(BUILD)/lint/%.ok)
lint-cppcheck:
	@$(CPPCHECK) $(LINT_SRC)
# What is imported or assigned and not used, names that nobody defines, blank lines.
lint-python:
	flake8 --select=E3,E9,F,W6 tests sdk examples
lint-shell:
	shellcheck .ci/run

# One stamp for each file, so that what did not change is not read again.
$(BUILD)/lint/%.ok: % .clang-tidy $(wildcard host/*/*.h host/*/*/*.h sdk/*.h sdk/common/*.h)
	@mkdir -p $(@D)
	$(call quiet,TIDY)clang-tidy --quiet --warnings-as-errors='*' $< -- -std=gnu11 -D_GNU_SOURCE -Ihost -Isdk $(TOVA_LUA_CFLAGS) \
		'-DTOVA_VERSION="0"' '-DTOVA_PLUGIN_DIR="/"' $(CFLAGS_PC) 2>$@.err || { cat $@.err; exit 1; }
	@touch $@

format:
	clang-format -i $(LINT_FORMAT)

# Which lines of host/ the tests reach, in percent, folder by folder. A host that a test kills leaves no figures, the others do.
.PHONY: coverage
coverage:
	+@find $(BUILD)/coverage -name '*.gcda' -delete 2>/dev/null || true
	+@$(again) BUILD=$(BUILD)/coverage OPT=-O0 EXTRA='--coverage -fprofile-update=atomic -U_FORTIFY_SOURCE' LINK='$(LINK) --coverage' \
		CHECKS_LEFT_OUT='check-valgrind check-protocol-valgrind' check
	@$(PYTHON) -B tests/lint/coverage.py $(BUILD)/coverage
