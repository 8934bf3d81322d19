# tova-ctl.
CTL_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard sdk/ctl/*.c)) $(BUILD)/libtova-common.a

$(BUILD)/tova-ctl: $(CTL_OBJ)
	$(call quiet,LINK)$(CC) $(LINK) $^ $(shell pkg-config --libs jansson libcurl) -lnng -lpthread -o $@

all: $(BUILD)/tova-ctl

INSTALL += 755:$(BUILD)/tova-ctl:$(PREFIX)/bin/tova-ctl \
	644:sdk/ctl/tova-ctl.1:$(PREFIX)/share/man/man1/tova-ctl.1 644:sdk/ctl/tova-worker.1:$(PREFIX)/share/man/man1/tova-worker.1
