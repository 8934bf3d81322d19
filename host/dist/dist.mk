# What goes beside the binaries: the manual page, the pkg-config file for authors of plugins, the unit file.
DIST := $(addprefix $(BUILD)/dist/,tova-host.1 tova-plugin.pc tova-host.service)
DIST_SED := -e 's|@VERSION@|$(VERSION)|g' -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@PLUGIN_DIR@|$(PREFIX)/lib/tova/plugins|g'

# The options come from the program's own table. The pipe is two steps, so that a program that fails leaves no page.
$(BUILD)/dist/tova-host.1: host/dist/tova-host.1.in $(BUILD)/tova-host
	@mkdir -p $(@D)
	$(BUILD)/tova-host --help-man >$@.options
	sed $(DIST_SED) -e '/^@OPTIONS@$$/{r $@.options' -e 'd}' $< >$@

$(BUILD)/dist/%: host/dist/%.in
	@mkdir -p $(@D)
	sed $(DIST_SED) $< >$@

.PHONY: dist-files install-dist
dist-files: $(DIST)

install-dist: $(DIST)
	install -D -m 644 $(BUILD)/dist/tova-host.1 $(DESTDIR)$(PREFIX)/share/man/man1/tova-host.1
	install -D -m 644 $(BUILD)/dist/tova-plugin.pc $(DESTDIR)$(PREFIX)/share/pkgconfig/tova-plugin.pc
	install -D -m 644 $(BUILD)/dist/tova-host.service $(DESTDIR)$(PREFIX)/lib/systemd/system/tova-host.service
