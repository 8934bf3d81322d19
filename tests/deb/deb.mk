# The packages in a clean root: built, linted, installed, started, reloaded, upgraded, removed and purged. Needs root, a mirror and
# mmdebstrap or debootstrap; where one is missing it says so and is no failure.
.PHONY: check-deb
check-deb: deb
	@sh tests/deb/clean_root.sh $(BUILD) $(VERSION)
