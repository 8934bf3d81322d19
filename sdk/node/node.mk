# The JavaScript worker library against a host played by its tests; tests/e2e has the real one.
.PHONY: check-sdk-node
check-sdk-node:
	@echo '== $@'
	node --test --test-reporter=dot sdk/node/test/worker.test.mjs sdk/node/test/testing.test.mjs

CHECKS += check-sdk-node
