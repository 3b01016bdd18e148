# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
# A short way to the usual things. The build itself is Meson's: see meson.build.

prefix ?= $(if $(PREFIX),$(PREFIX),/usr/local)
MACHINE ?= examples/machines/pc-two-nodes.json
# Disk images to run over, one after the other; made from files of this machine when none is given.
DISKS ?= build/images/files.img build/images/odd.img build/images/sparse.img
# Further options of "guestmem run", such as "--bytes 8G --cycles 1000 --seed 1".
RUN ?=
# What bench/bench.py is told: names of what to measure, or options such as --quick.
BENCH ?=
# What tests/qemu/run.py is told: names of tests, or options such as --full; and tests/qemu/compare.py.
QEMU ?=
# What "make serve" serves to "make guest", and where they meet.
DISK ?= build/images/boot.img
SOCKET ?= build/disk.sock
# How QEMU is started. Memory has to be shared with the server: that is the first line's.
GUEST ?= qemu-system-x86_64 -m 512M -object memory-backend-memfd,id=mem,size=512M,share=on \
	-machine q35,memory-backend=mem -chardev socket,id=disk,path=$(SOCKET),reconnect=1 \
	-device vhost-user-blk-pci,chardev=disk -nographic -net none

# How long each of the fuzzed programs is run.
FUZZ_SECONDS ?= 60

tool := build/main/tools/guestmem

.PHONY: build run serve guest test test-qemu compare-qemu fuzz bench mutants install clean help

build:
	@scripts/setup.sh run
	@test -f build/main/build.ninja || meson setup build/main -Dtests=false --prefix='$(prefix)'
	@ninja -C build/main

build/images/%.img:
	@scripts/make-image.sh $* $@

run: build
	@$(MAKE) --silent --no-print-directory $(DISKS)
	@for disk in $(DISKS); do \
		echo; echo "$(tool) run $(MACHINE) --disk $$disk" $(RUN); \
		$(tool) run $(MACHINE) --disk "$$disk" $(RUN) || exit; \
	done
	@echo "verified with $(words $(DISKS)) disk images"

serve: build
	@$(MAKE) --silent --no-print-directory $(DISK)
	$(tool) blk --socket $(SOCKET) --status $(DISK)

guest:
	@scripts/setup.sh qemu
	$(GUEST)

test:
	@scripts/setup.sh test
	@scripts/test-matrix.sh

test-qemu: build
	@scripts/setup.sh qemu || echo 'test-qemu: what needs those is skipped' >&2
	@tests/qemu/run.py $(QEMU)

compare-qemu: build
	@scripts/setup.sh qemu
	@tests/qemu/compare.py $(QEMU)

fuzz:
	@scripts/setup.sh test
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.sh

bench:
	@scripts/setup.sh bench
	@scripts/setup.sh peers || echo 'bench: going on without other libraries that need those' >&2
	@bench/build.sh
	@test ! -x bench/peers.sh || bench/peers.sh || echo 'bench: going on without other libraries that could not be built' >&2
	@bench/bench.py $(BENCH)

mutants:
	@scripts/setup.sh test
	@tests/checks/mutants.py .

install: build
	meson configure build/main --prefix='$(prefix)'
	DESTDIR='$(DESTDIR)' meson install -C build/main

clean:
	rm -rf build

help:
	@echo 'make            build the library, the tool and the examples, in build/main'
	@echo 'make run        build, make disk images from files of this machine, and show a machine'
	@echo '                that works while its memory is plugged and unplugged; all verified'
	@echo '                DISKS="IMAGE..."  other disks (never written to)'
	@echo '                MACHINE=FILE      another machine: see docs/machine.md'
	@echo '                RUN="OPTION..."   more of guestmem run, such as --bytes 8G --cycles 1000'
	@echo 'make serve      serve a disk to virtual machines by vhost-user: DISK=$(DISK)'
	@echo 'make guest      start a guest from it under QEMU, in another terminal'
	@echo 'make test       all tests, built by gcc and clang, plain and with sanitizers'
	@echo 'make test-qemu  a real QEMU whose disk the tool serves: memory plugged and pulled, live'
	@echo '                migration, the server killed; the kernel is downloaded from Debian'
	@echo '                QEMU="NAME... OPTION..."  such as kill, or --full for more of everything'
	@echo 'make compare-qemu  speed and processor time, side by side with qemu-storage-daemon'
	@echo 'make fuzz       look for inputs that break something, by libFuzzer'
	@echo '                FUZZ_SECONDS=60  for each of the programs'
	@echo 'make bench      measure speed, side by side with other libraries: see docs/speed.md'
	@echo '                BENCH="NAME... OPTION..."  such as --quick, 11 for row 11, or "find/*"'
	@echo 'make mutants    take out one guard of the library at a time, and see the tests fail'
	@echo 'make install    install to prefix=$(prefix), below DESTDIR if that is set'
	@echo 'make clean      remove build/, disk images too'
	@echo
	@echo 'What is missing on this machine is installed from Debian packages where that can be done'
	@echo 'without asking, and named otherwise: see scripts/packages.'
