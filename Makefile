# tova-host. The two commands to know: `make deps run` and `make test-deps check`.
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
PYTHON  ?= /usr/bin/python3
VERSION := 0.1.0

PKGS_BUILD := gcc make pkg-config libevent-dev libjansson-dev libconfig-dev libssl-dev zlib1g-dev
PKGS_TEST  := $(PKGS_BUILD) g++ clang libclang-rt-14-dev check valgrind python3 python3-pytest python3-selenium chromium chromium-driver

LIBS_PC := libevent_core jansson libconfig libcrypto zlib
CFLAGS_PC := $(shell pkg-config --cflags $(LIBS_PC) 2>/dev/null)
LIBS      := $(shell pkg-config --libs $(LIBS_PC) 2>/dev/null) -ldl -lpthread

# SAN=address,undefined builds with sanitizers (use another BUILD directory; `make asan` does).
SAN ?=
ifeq ($(SAN),)
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong
OPT    ?= -O2
else
HARDEN := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined
OPT    ?= -O1
endif
CFLAGS  ?= -g
WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
ALLFLAGS = -std=gnu11 $(WARN) $(OPT) $(CFLAGS) $(HARDEN) $(EXTRA) -MMD -MP
HOSTFLAGS = $(ALLFLAGS) -D_GNU_SOURCE -fPIE -Ihost -Isdk -DTOVA_VERSION='"$(VERSION)"' -DTOVA_PLUGIN_DIR='"$(PREFIX)/lib/tova/plugins"' $(CFLAGS_PC)
LINK    = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(if $(SAN),-fsanitize=$(SAN)) -rdynamic

SRC_LIB := $(sort $(filter-out host/main.c,$(wildcard host/*.c host/*/*.c)))
OBJ_LIB := $(SRC_LIB:%.c=$(BUILD)/obj/%.o)
PLUGINS := $(patsubst plugins/%.c,$(BUILD)/plugins/%.so,$(wildcard plugins/*.c))

.DELETE_ON_ERROR:
.PHONY: all deps test-deps run install clean
all: $(BUILD)/tova-host $(PLUGINS)

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(HOSTFLAGS) -c $< -o $@

$(BUILD)/libtova.a: $(OBJ_LIB)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/tova-host: $(BUILD)/obj/host/main.o $(BUILD)/libtova.a
	$(CC) $(LINK) $< -Wl,--whole-archive $(BUILD)/libtova.a -Wl,--no-whole-archive $(LIBS) -o $@

# Plugins see only the SDK header, as a user's plugin does.
$(BUILD)/plugins/%.so: plugins/%.c
	@mkdir -p $(@D)
	$(CC) $(ALLFLAGS) -fPIC -shared -Isdk $(shell pkg-config --cflags jansson) $< -Wl,-z,relro,-z,now -Wl,--as-needed -ljansson -o $@

include $(wildcard tests/*/*.mk)

.PHONY: check
check: all $(CHECKS)

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

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
