# tova-host. The two commands to know: `make deps run` and `make test-deps check`; `make help` lists the others.
BUILD   ?= build
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
UNITDIR ?= $(PREFIX)/lib/systemd/system
DESTDIR ?=
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
PYTHON  ?= /usr/bin/python3
VERSION := 0.2.0

PKGS_BUILD := gcc libc6-dev make pkg-config libevent-dev libjansson-dev libconfig-dev libssl-dev liburing-dev zlib1g-dev libsystemd-dev libnng-dev libcurl4-openssl-dev liblua5.4-dev libhiredis-dev
PKGS_TEST  := $(PKGS_BUILD) g++ clang libclang-rt-14-dev check valgrind openssl python3 python3-pytest python3-pytest-xdist python3-jsonschema prometheus python3-selenium chromium chromium-driver php-cli ruby nng-utils websocketd nodejs nginx-light haproxy gdb systemd redis-server

LIBS_PC := libevent_core jansson libconfig libssl libcrypto liburing zlib libsystemd
CFLAGS_PC := $(shell pkg-config --cflags $(LIBS_PC) 2>/dev/null)
LIBS      := $(shell pkg-config --libs $(LIBS_PC) hiredis 2>/dev/null) -ldl -lpthread -lm

# Where `make run` listens.
LISTEN ?= 127.0.0.1:8080
JOBS   ?= $(shell nproc)

# SAN=address,undefined builds with sanitizers (use another BUILD directory; `make asan` does).
SAN ?=
ifeq ($(SAN),)
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong
OPT    ?= -O2
else
HARDEN := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined
OPT    ?= -O1
endif
# The host is optimised as a whole: a message's way leads through five files. Tests and libraries take the same objects one by one.
LTO ?= $(if $(SAN)$(findstring clang,$(CC)),,-flto=auto)
CFLAGS  ?= -g
WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
ALLFLAGS = -std=gnu11 $(WARN) $(OPT) $(CFLAGS) $(HARDEN) $(EXTRA) -MMD -MP
# What is below sdk/ sees nothing of the host.
SDKFLAGS  = $(ALLFLAGS) -D_GNU_SOURCE -fPIE -Isdk -DTOVA_VERSION='"$(VERSION)"' -DTOVA_PLUGIN_DIR='"$(LIBDIR)/tova/plugins"' $(CFLAGS_PC)
HOSTFLAGS = $(SDKFLAGS) -Ihost
LINK    = -pie -fno-lto -Wl,-z,relro,-z,now -Wl,--as-needed $(if $(SAN),-fsanitize=$(SAN))

SRC_LIB := $(sort $(filter-out host/main.c,$(wildcard host/*.c host/*/*.c host/*/*/*.c)))
OBJ_LIB := $(SRC_LIB:%.c=$(BUILD)/obj/%.o)
# What the host and the SDK share: common things, and the translator of .tova programs.
SRC_COMMON := $(sort $(wildcard sdk/common/*.c sdk/tova/*.c))
OBJ_COMMON := $(SRC_COMMON:%.c=$(BUILD)/obj/%.o)
# All of the host but its main.
HOST_A  := $(BUILD)/libtova.a $(BUILD)/libtova-common.a
PLUGINS := $(patsubst plugins/%.c,$(BUILD)/plugins/%.so,$(wildcard plugins/*.c))

# In front of a command: one short line instead of it; V=1 shows the command.
quiet = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$@' &&)
# make, as parallel as the machine unless the caller said how. What was just installed is seen only by a make that starts afterwards.
again = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

.DELETE_ON_ERROR:
.PHONY: all help deps test-deps run clean
all: $(BUILD)/tova-host $(PLUGINS)

# Objects are built again when the compiler or its options change. What builds nothing (install, by root, with another environment)
# changes none of that.
BUILDS_NOTHING := install uninstall dist clean help
FLAGS_FILE := $(BUILD)/flags
FLAGS_NOW  := $(CC) $(CXX) $(HOSTFLAGS) $(LTO) $(LINK) $(LIBS) $(UNITDIR)
ifneq ($(filter-out $(BUILDS_NOTHING),$(or $(MAKECMDGOALS),all)),)
ifneq ($(FLAGS_NOW),$(file <$(FLAGS_FILE)))
$(shell mkdir -p $(BUILD))
$(file >$(FLAGS_FILE),$(FLAGS_NOW))
endif
endif

$(BUILD)/obj/%.o: %.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(HOSTFLAGS) $(if $(LTO),$(LTO) -ffat-lto-objects) -c $< -o $@

# The program carries the browser's library and a page in itself.
$(BUILD)/obj/host/net/web_library.o: sdk/web/tova.js
$(BUILD)/obj/host/ops/page.o: host/ops/page/page.html host/ops/page/page.js host/ops/page/page.css
$(BUILD)/obj/host/net/dev_console.o: $(wildcard host/net/console/*)

$(BUILD)/obj/sdk/%.o: sdk/%.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(SDKFLAGS) $(if $(LTO),$(LTO) -ffat-lto-objects) -c $< -o $@

$(BUILD)/libtova.a: $(OBJ_LIB)
$(BUILD)/libtova-common.a: $(OBJ_COMMON)
$(HOST_A):
	@rm -f $@
	$(call quiet,AR)ar rcs $@ $^

$(BUILD)/tova-host: $(BUILD)/obj/host/main.o $(HOST_A)
	$(call quiet,LINK)$(CC) $(OPT) $(CFLAGS) $(HARDEN) $(LINK) $(LTO) $^ $(LIBS) -o $@

# Plugins see only the SDK header, as a user's plugin does.
$(BUILD)/plugins/%.so: plugins/%.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call quiet,SO)$(CC) $(ALLFLAGS) -fPIC -shared -Isdk $(shell pkg-config --cflags jansson) $< -Wl,-z,relro,-z,now -Wl,--as-needed -ljansson -o $@

include host/dist/dist.mk
include $(wildcard sdk/*/*.mk)
include tests/tests.mk

# --- running ------------------------------------------------------------------------------------------------------------------
# TOVA=1: by the specification's own program instead of a plugin in C.
run: | $(filter deps,$(MAKECMDGOALS))
	@$(again) all
	@echo "The chat is at http://$(LISTEN)/ (control-C stops it)."
	@exec $(BUILD)/tova-host $(if $(TOVA),examples/chat/chat.tova,--plugin chat.so) --static examples/chat --resume 60s --history 50/24h --listen $(LISTEN)

help:
	@echo 'make                  build/tova-host and build/plugins/*.so (V=1 shows the commands, CC=clang BUILD=build/clang another compiler)'
	@echo 'make deps run         install what building needs, build, start the chat (LISTEN=ADDR:PORT; TOVA=1: by a .tova program)'
	@echo 'make test-deps check  install what tests need, build, run every test'
	@echo 'make check-NAME       some of the tests: $(patsubst check-%,%,$(CHECKS))'
	@echo 'make install          what was built, into PREFIX=/usr/local, below DESTDIR if that is set; make uninstall takes it away again'
	@echo 'make deb              Debian packages, in $(BUILD); make check-deb tries them in a clean root; make docker: an image'
	@echo 'make dist             $(DIST_TARBALL), the sources, with a checksum'
	@echo 'make check-quick      what is quick of that, in under three minutes'
	@echo 'make asan, make tsan  the tests with sanitizers; make coverage: which lines they reach'
	@echo 'make fuzz             fuzz every parser for FUZZ_SECONDS=60 each'
	@echo 'make lint             format, include order, clang-tidy, cppcheck (make lint-deps installs them)'
	@echo 'make check-instructions  does the host take more instructions than it did? make update-instructions: that is right so'
	@echo 'make bench            compare with other servers (make bench-deps installs them); make bench-quick: in two minutes'
	@echo 'make bench-growth     how costs grow; make bench-workers: what handlers cost; each has a -quick form; make bench-slow: clients that do not read; make bench-readme: all, for README.md'

# --- dependencies -------------------------------------------------------------------------------------------------------------
# Installs only what is missing, so that it costs nothing and needs no network where everything is there.
define apt_install
	@missing=$$(for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		$$sudo apt-get update && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y --no-install-recommends $$missing; \
	fi
endef
deps:
	$(call apt_install,$(PKGS_BUILD))
test-deps:
	$(call apt_install,$(PKGS_TEST))

clean:
	rm -rf $(BUILD)

-include $(shell find $(addprefix $(BUILD)/,obj lib pic plugins tests fuzz bench) -name '*.d' 2>/dev/null)
