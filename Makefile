# Janos. `make demo` and `make test` are the two commands; both work on a fresh machine
# with Go and make. As root they use the kernel; otherwise they say what they left out.

GO        ?= go
VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS   := -s -w -X main.version=$(VERSION)
export CGO_ENABLED := 0

.PHONY: build demo test race bench lint generate cross fuzz soak churn clean

build: ## static binaries in bin/, and links under which click is one of its tools
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...
	@for t in $$(bin/click --tool names); do ln -sf click bin/$$t; done

demo: build ## a laboratory network whose nodes load and run capsules on real links
	bin/janos demo examples/first-network

test: build ## all tests; with the race detector where a C compiler is there (it needs one)
	@./.ci/test

bench: ## benchmarks of the packet path, with allocations
	$(GO) test -run '^$$' -bench . -benchmem ./packet ./resctl ./demux ./nodeos ./click/... ./vm/... ./ee/... ./channels/...

lint: ## gofmt, vet, and the platforms that must build
	@test -z "$$(gofmt -l $$(git ls-files '*.go' | grep -v testdata))" || { gofmt -l $$(git ls-files '*.go' | grep -v testdata); exit 1; }
	$(GO) vet ./...
	$(MAKE) --no-print-directory cross

cross: ## linux/arm64 whole; darwin without the kernel
	GOOS=linux GOARCH=arm64 $(GO) build ./...
	GOOS=darwin GOARCH=arm64 $(GO) build ./...

generate: ## redo generated files; those that need clang only where it is
	$(GO) generate ./...

fuzz: ## every fuzz target for FUZZTIME (default 10s)
	@./.ci/fuzz $(or $(FUZZTIME),10s)

soak: build ## the demo, again and again: ROUNDS times (default 10)
	@for i in $$(seq $(or $(ROUNDS),10)); do echo "round $$i"; bin/janos demo examples/first-network || exit 1; done

churn: ## 100,000 isolates and 100,000 protocols come and go, and leave nothing
	$(GO) test -timeout 30m -run 'Churn' ./vm ./ee/ants -args -long

clean:
	rm -rf bin demo-out
