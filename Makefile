# Entry points. Each installs what it misses from Debian's archive; `make help` lists them.

.DEFAULT_GOAL := build
.PHONY: help build run test test-full check bench coverage format clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

build:  ## build/release/cachefs and build/release/slowfs
	scripts/install-dependencies build run
	cmake --preset release
	cmake --build --preset release --target cachefs slowfs

run: build  ## mount SOURCE=dir on MOUNTPOINT=dir; without them, a demonstration
	@scripts/run

test:  ## the test suite
	scripts/install-dependencies build run test
	cmake --preset release
	cmake --build --preset release
	ctest --preset release --no-label-summary

test-full:  ## the long matrix: all compilers, sanitizers and tests at full scale
	scripts/install-dependencies
	scripts/test-full

check:  ## format, lint and thread-safety analysis of what changed
	scripts/install-dependencies build check
	scripts/format --check
	scripts/tidy

bench:  ## all benchmarks
	scripts/install-dependencies build run bench
	cmake --preset release
	cmake --build --preset release
	scripts/bench

coverage:  ## line coverage of the test suite, in build/coverage/report
	scripts/install-dependencies build run test coverage
	scripts/coverage

format:  ## format all sources
	scripts/install-dependencies check
	scripts/format

clean:  ## remove build/
	rm -rf build
