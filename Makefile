# The commands of this repository. `make demo` and `make test` do all their
# set-up on a fresh Debian machine with Go; neither asks a question.

GO ?= go
BAKE := bin/bake
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 10s
# One way of compiling for the program, the checks and the tests, so that each package
# is compiled once. Only the race detector needs cgo.
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)
# Programs with the race detector sleep for a second before they exit. The stand-ins of
# hypervisors are such programs, and tests call them some thousand times.
export GORACE := $(strip $(GORACE) atexit_sleep_ms=0)
STATIC := CGO_ENABLED=0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Tests that take minutes start first, the longest before the others, so that none of them
# runs alone at the end. They wait for machines and services for much of their time, so that
# twice as many packages are tested at once as there are processors.
JOBS := $(shell expr 2 '*' "$$(getconf _NPROCESSORS_ONLN)")
LONGEST := ./cmd/bake ./platforms/qemu ./stdlib ./platforms/rootfs/origin ./platforms/aws ./platforms/virtualbox ./runtime/disk ./platforms/vsphere

.PHONY: build help demo test cloud unit bench lint cross fuzz reference site clean

build: ## build the static binary bin/bake
	@mkdir -p bin
	$(STATIC) $(GO) build -ldflags '$(LDFLAGS)' -o $(BAKE) ./cmd/bake

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

demo: ## install what is missing, build bake, build and boot the quick-start image
	@.ci/setup demo
	@$(MAKE) --no-print-directory build
	$(BAKE) build examples/quickstart/images.star --out out
	@examples/quickstart/boot.sh out/web/web.qcow2

test: ## install what is missing and run every test, slow ones too
	@.ci/setup test
	@$(MAKE) --no-print-directory build
	@BAKE_TEST_REQUIRE=1 $(MAKE) --no-print-directory -j2 -Otarget cross lint
	BAKE_TEST_OPENSTACK=none BAKE_TEST_REQUIRE=1 BAKE_TEST_SLOW=1 $(GO) test -race -vet=off -p $(JOBS) -timeout 45m $(LONGEST) ./...
	@$(MAKE) --no-print-directory cloud
	@moto_server --help >/dev/null 2>&1 || python3 -m moto.server --help >/dev/null 2>&1 || \
		echo "NOT CHECKED: requests to AWS against a server by another hand: pip install 'moto[server]'" >&2

# The race detector sees this code in the run before; here disks are compressed, which
# takes it minutes. One OpenStack serves both packages, one after the other.
cloud: ## the part of make test that makes an OpenStack of Debian's packages, once, and runs it
	@.ci/setup test
	@.ci/openstack
	BAKE_TEST_REQUIRE=1 BAKE_TEST_SLOW=1 $(GO) run ./internal/testopenstack/with sh -ec '\
		$(GO) test -vet=off -timeout 40m ./platforms/openstack; \
		$(GO) test -vet=off -timeout 20m ./cmd/bake -run TestOpenStack'

unit: ## the quick tests: no privileges and no tools needed
	$(GO) test -race ./...

bench: ## compare with other tools, side by side, and print ratios
	@.ci/setup bench
	@$(MAKE) --no-print-directory build
	$(GO) run ./cmd/bake-bench -bake $(BAKE)

lint: ## gofmt, go vet, staticcheck, shellcheck, and bake's own fmt and lint
	@unformatted="$$(gofmt -l $$(git ls-files '*.go'))"; if [ -n "$$unformatted" ]; then echo "gofmt: $$unformatted"; exit 1; fi
	$(STATIC) $(GO) vet ./...
	$(STATIC) $(GO) run $(STATICCHECK) ./...
	$(STATIC) $(GO) run ./cmd/bake fmt --check
	$(STATIC) $(GO) run ./cmd/bake lint
	@if command -v shellcheck >/dev/null; then \
		shellcheck -S warning -e SC1007,SC2148 .ci/setup .ci/run .ci/openstack $$(git ls-files '*.sh' ':!*/testdata/*'); \
	elif [ -n "$(BAKE_TEST_REQUIRE)" ]; then \
		echo "lint: shellcheck is not installed"; exit 1; \
	else \
		echo "lint: SKIPPED: shellcheck is not installed, shell scripts are not checked"; \
	fi

# What is compiled for other platforms is thrown away: it is not optimised.
cross: build ## compile for every platform that bake runs on
	@set -e; for target in linux/arm64 darwin/arm64 windows/amd64; do \
		echo "cross: $$target"; \
		$(STATIC) GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) build -gcflags='all=-N -l' -o /dev/null ./cmd/bake; \
	done
	@set -e; for target in darwin/arm64 windows/amd64; do \
		echo "vet: $$target"; \
		$(STATIC) GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) vet -gcflags='all=-N -l' ./...; \
	done

fuzz: ## run every fuzz test for FUZZTIME=10s
	@set -e; for dir in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
		for f in $$($(GO) test -list '^Fuzz' ./$$dir | grep '^Fuzz' || true); do \
			echo "fuzz: $$dir $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s ./$$dir; \
		done; \
	done

reference: ## renew docs/reference.md from the code
	$(GO) test ./cmd/bake -run TestReferenceIsCurrent -update

site: build ## write the site of the documentation into site/
	$(BAKE) doc --site site

clean: ## remove what make built
	rm -rf bin out site
