# The library for browsers, in a world played by its tests; tests/e2e has real browsers.
.PHONY: check-sdk-web
check-sdk-web:
	@echo '== $@'
	node --test --test-reporter=dot sdk/web/test/tova.test.mjs sdk/web/test/run.test.mjs

CHECKS += check-sdk-web

INSTALL += $(foreach f,tova.js index.d.ts,644:sdk/web/$(f):$(PREFIX)/share/tova/web/$(f))
INSTALL_FOLDERS += $(PREFIX)/share/tova/web $(PREFIX)/share/tova
