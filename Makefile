# DistriFS. `make up` gives a mounted cluster, `make test` runs every test.
# MOUNT, DIR and PORT say where: make up MOUNT=~/distrifs DIR=~/cluster PORT=9500

GO         ?= go
MOUNT      ?= /mnt/distrifs
DIR        ?=
PORT       ?=
PREFIX     ?= /usr/local
SBIN       ?= /sbin
BENCHFLAGS ?= -benchtime 1s

.PHONY: build up down test fuzz chaos bench bench-peers lint proto install install-helpers clean

build:
	CGO_ENABLED=0 $(GO) build -o bin/ ./cmd/...

up: build
	test/deps up
	@grep -q ' $(MOUNT) ' /proc/mounts || mkdir -p $(MOUNT) || { echo "make up MOUNT=~/distrifs mounts it where you may write" >&2; exit 1; }
	bin/distrifs up --detach --mount $(MOUNT) $(if $(DIR),--dir $(DIR)) $(if $(PORT),--port $(PORT))

down: build
	bin/distrifs down $(if $(DIR),--dir $(DIR))

test:
	test/deps test
	GO=$(GO) test/run

# Every fuzz target, for 30 s or as T=5m says; what failed is in its package's testdata/fuzz then.
fuzz:
	GO=$(GO) test/fuzz $(or $(T),30s)

# Faults of all kinds happen to a cluster with programs working on it, for 10 m or as T=1h says,
# and a timeline is printed. SEED=1 repeats the plan of faults of a run.
chaos:
	test/deps test
	$(GO) test -count=1 -timeout 0 -run '^TestChaos$$' ./test/chaos -v -chaos.time $(or $(T),10m) -chaos.seed $(or $(SEED),0)

# The parts print lines for benchstat; the whole cluster prints one table.
bench:
	test/deps test
	$(GO) test -run '^$$' -bench . -benchmem $(BENCHFLAGS) $$($(GO) list ./... | grep -v /test/)
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 30m ./test/bench

# Beside MooseFS and GlusterFS, of Debian's packages, in one run: needs root.
# PEERS="-only seq,rand -seconds 3", for example.
bench-peers: build
	test/deps peers
	$(GO) run ./test/peers $(PEERS)

lint:
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "gofmt -w needed: $$files" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -count=1 ./test/lint

proto:
	test/deps proto
	$(GO) build -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	cd proto && $(GO) generate

install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	install bin/distrifs bin/distrifs-master bin/distrifs-chunkd bin/distrifs-mount $(DESTDIR)$(PREFIX)/bin
	$(MAKE) install-helpers

# mount(8) and umount(8) look for helpers in /sbin alone. SBIN= leaves them out.
install-helpers:
ifneq ($(SBIN),)
	install -d $(DESTDIR)$(SBIN)
	for name in mount.distrifs mount.fuse.distrifs umount.distrifs umount.fuse.distrifs; do \
		ln -sf $(PREFIX)/bin/distrifs-mount $(DESTDIR)$(SBIN)/$$name || exit 1; \
	done
endif

clean:
	rm -rf bin
