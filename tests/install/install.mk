# What `make install` leaves, in a folder of its own, and whether it works from there.
CHECKS += check-install
INSTALL_STAGE := $(BUILD)/stage

.PHONY: check-install
check-install: all dist
	@rm -rf $(INSTALL_STAGE)
	@$(MAKE) --no-print-directory install DESTDIR=$(abspath $(INSTALL_STAGE)) >$(BUILD)/install.log 2>&1 || { cat $(BUILD)/install.log; exit 1; }
	TOVA_STAGE=$(INSTALL_STAGE) TOVA_PREFIX=$(PREFIX) $(PYTEST) tests/install
