# tova-ctl.
CTL_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard sdk/ctl/*.c)) $(BUILD)/libtova-common.a

$(BUILD)/tova-ctl: $(CTL_OBJ)
	$(call quiet,LINK)$(CC) $(LINK) $^ $(shell pkg-config --libs jansson) -lnng -lpthread -o $@

all: $(BUILD)/tova-ctl

.PHONY: install-ctl
install: install-ctl
install-ctl: $(BUILD)/tova-ctl
	install -D -m 755 $(BUILD)/tova-ctl $(DESTDIR)$(PREFIX)/bin/tova-ctl
	install -D -m 644 sdk/ctl/tova-ctl.1 $(DESTDIR)$(PREFIX)/share/man/man1/tova-ctl.1
	install -D -m 644 sdk/ctl/tova-worker.1 $(DESTDIR)$(PREFIX)/share/man/man1/tova-worker.1
