# What goes beside the binaries (manual pages, pkg-config files, the unit file), what is installed where, and the tarball.
DIST_SHARE := core-dump.conf grafana-dashboard.json logrotate.conf prometheus-rules.yml sysctl.conf tova-host.conf tova-host.socket
DIST := $(addprefix $(BUILD)/dist/,tova-host.1 tova-plugin.pc tova-host.service sysusers.conf tova-ctl.bash $(DIST_SHARE))
PLUGIN_DIR := $(LIBDIR)/tova/plugins
DIST_SED := -e 's|@VERSION@|$(VERSION)|g' -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@LIBDIR@|$(LIBDIR)|g' -e 's|@PLUGIN_DIR@|$(PLUGIN_DIR)|g'

# The options come from the program's own table. The pipe is two steps, so that a program that fails leaves no page.
$(BUILD)/dist/tova-host.1: host/dist/tova-host.1.in $(BUILD)/tova-host
	@mkdir -p $(@D)
	@$(BUILD)/tova-host --help-man >$@.options
	@sed $(DIST_SED) -e '/^@OPTIONS@$$/{r $@.options' -e 'd}' $< >$@

# Likewise tova-ctl's commands and options.
$(BUILD)/dist/tova-ctl.bash: host/dist/tova-ctl.bash.in $(BUILD)/tova-ctl
	@mkdir -p $(@D)
	@$(BUILD)/tova-ctl --words >$@.words
	@sed -e '/^@WORDS@$$/{r $@.words' -e 'd}' $< >$@

$(BUILD)/dist/%: host/dist/%.in $(FLAGS_FILE)
	@mkdir -p $(@D)
	@sed $(DIST_SED) $< >$@

.PHONY: dist-files
dist-files: $(DIST)
all: dist-files

# --- install ------------------------------------------------------------------------------------------------------------------
# MODE:FILE:WHERE. The folders of sdk/ add theirs. Nothing is built here: that may need another user than installing does.
INSTALL := 755:$(BUILD)/tova-host:$(PREFIX)/bin/tova-host \
	$(foreach p,$(PLUGINS),644:$(p):$(PLUGIN_DIR)/$(notdir $(p))) \
	644:sdk/tova_plugin.h:$(PREFIX)/include/tova_plugin.h \
	644:$(BUILD)/dist/tova-host.1:$(PREFIX)/share/man/man1/tova-host.1 \
	644:$(BUILD)/dist/tova-plugin.pc:$(LIBDIR)/pkgconfig/tova-plugin.pc \
	644:$(BUILD)/dist/tova-host.service:$(UNITDIR)/tova-host.service \
	644:$(BUILD)/dist/tova-ctl.bash:$(PREFIX)/share/bash-completion/completions/tova-ctl \
	644:$(BUILD)/dist/sysusers.conf:$(PREFIX)/lib/sysusers.d/tova-host.conf \
	$(foreach f,$(DIST_SHARE),644:$(BUILD)/dist/$(f):$(PREFIX)/share/tova/$(f))
# Folders that nobody else puts files into, the inner ones first.
INSTALL_FOLDERS := $(PLUGIN_DIR) $(dir $(PLUGIN_DIR))
# $(call of_install,N): what stands in the place N of each
of_install = $(foreach i,$(INSTALL),$(word $(1),$(subst :, ,$(i))))

# What was built knows its own places: where plugins are, what the unit starts.
INSTALL_PLACES = $(PREFIX) $(LIBDIR) $(UNITDIR)
$(BUILD)/places: $(FLAGS_FILE)
	@echo '$(INSTALL_PLACES)' >$@
all: $(BUILD)/places

define newline


endef

.PHONY: install uninstall
install: | $(filter all,$(MAKECMDGOALS))
	@for f in $(call of_install,2) $(BUILD)/places; do \
		[ -e $$f ] || { echo "make install: $$f is not there: build first, with make PREFIX=$(PREFIX)" >&2; exit 1; }; done
	@[ "$$(cat $(BUILD)/places)" = '$(INSTALL_PLACES)' ] || { echo "make install: what was built is for $$(cat $(BUILD)/places)," \
		"and $(INSTALL_PLACES) was asked for: build for that first, with make PREFIX=$(PREFIX)" >&2; exit 1; }
	$(foreach i,$(INSTALL),@install -D -m $(word 1,$(subst :, ,$(i))) $(word 2,$(subst :, ,$(i))) \
		$(DESTDIR)$(word 3,$(subst :, ,$(i)))$(newline)	)
	@echo "installed below $(DESTDIR)$(PREFIX): $(words $(INSTALL)) files"

# Folders that are empty then are ours, or nobody misses them; those that others share are left.
uninstall:
	@rm -f $(addprefix $(DESTDIR),$(call of_install,3))
	@rmdir $(addprefix $(DESTDIR),$(INSTALL_FOLDERS)) 2>/dev/null || true
	@echo "removed below $(DESTDIR)$(PREFIX): $(words $(INSTALL)) files"

# --- the tarball --------------------------------------------------------------------------------------------------------------
# Of the same files, whoever packs them and when: in a checkout what git knows of, as it stands there; else everything but what was
# built.
DIST_NAME    := tova-host-$(VERSION)
DIST_TARBALL := $(BUILD)/$(DIST_NAME).tar.gz
DIST_FILES   := if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then git ls-files -z; else \
	find . -path ./build -prune -o -name __pycache__ -prune -o -type f -print0; fi
DIST_DATE    := $(shell git log -1 --format=@%ct 2>/dev/null || stat -c @%Y CHANGELOG.md)

.PHONY: dist
dist:
	@mkdir -p $(BUILD)
	@{ $(DIST_FILES); } | sed -z 's|^\./||' | LC_ALL=C sort -z >$(DIST_TARBALL).files
	@tar --create --file=$(DIST_TARBALL:.gz=) --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime='$(DIST_DATE)' \
		--transform='flags=r;s|^|$(DIST_NAME)/|' --no-recursion --null --files-from=$(DIST_TARBALL).files
	@rm $(DIST_TARBALL).files
	@gzip -9nf $(DIST_TARBALL:.gz=)
	@cd $(BUILD) && sha256sum $(notdir $(DIST_TARBALL)) >$(notdir $(DIST_TARBALL)).sha256
	@cat $(DIST_TARBALL).sha256

# --- packages -----------------------------------------------------------------------------------------------------------------
# Of the tarball, in a folder of its own; the suite is not run. They are left in $(BUILD).
PKGS_DEB := $(PKGS_BUILD) debhelper dh-python dpkg-dev fakeroot lintian python3
DEB_TREE := $(BUILD)/deb/$(DIST_NAME)

.PHONY: deb deb-deps docker
docker:
	@command -v docker >/dev/null || { echo "make docker: docker is not there" >&2; exit 1; }
	docker build -f host/dist/Dockerfile -t tova-host:$(VERSION) .

deb-deps:
	$(call apt_install,$(PKGS_DEB))

deb: deb-deps dist
	@rm -rf $(BUILD)/deb && mkdir -p $(BUILD)/deb
	@tar -C $(BUILD)/deb -xf $(DIST_TARBALL)
	@cp -r host/dist/debian $(DEB_TREE)/debian
	@printf '%s\n' 'tova-host ($(VERSION)) unstable; urgency=medium' '' '  * See CHANGELOG.md.' '' \
		" -- tova-host authors <tova-host@tova.example.org>  $$(LC_ALL=C date -u -R -d '$(DIST_DATE)')" >$(DEB_TREE)/debian/changelog
	cd $(DEB_TREE) && env -u MAKEFLAGS -u MAKELEVEL -u CC -u LTO DEB_BUILD_OPTIONS='parallel=$(JOBS) noautodbgsym' dpkg-buildpackage -us -uc -b
	@mv $(BUILD)/deb/*.deb $(BUILD)/ && rm -rf $(BUILD)/deb
	@ls $(BUILD)/*_$(VERSION)_*.deb
