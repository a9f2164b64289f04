# The image of gcr-push: one static binary in a busybox, for `uses:` in a GitHub workflow and for
# `image:` in GitLab CI.
#
# Both bases are pinned by the digest of their multi-platform index; the tag beside it is for
# people and for Dependabot, the digest decides.

# Debian's glibc, linked statically: its allocator serves many threads at once, and its resolver
# needs no file beside the binary (since glibc 2.34). `.ci/image` and the benchmarks build in the
# same way, so what is measured is what is shipped. This variant brings gcc, libc6-dev and the CA
# certificates, with which aws-lc-sys and libdeflate-sys compile their C: nothing has to be installed.
# https://github.com/rust-lang/docker-rust/blob/master/Dockerfile-slim.template
FROM docker.io/library/rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /build

# A position-independent program has a relocation for every pointer in its tables; packed they take
# 8 KiB instead of 330.
ENV RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs"

# The target is named, for without it the build scripts would be linked statically too.
# https://doc.rust-lang.org/reference/linkage.html#static-and-dynamic-c-runtimes
#
# The dependencies by themselves, over empty sources: this layer stays until Cargo.lock changes.
# Cargo wants the manifest of every member of the workspace, also of those that are not built here.
COPY Cargo.toml Cargo.lock ./
COPY .cargo/config.toml .cargo/
COPY examples/demo/Cargo.toml examples/demo/
COPY tests/standin/Cargo.toml tests/standin/
RUN mkdir -p src examples/demo/src tests/standin/src \
    && touch src/lib.rs examples/demo/src/lib.rs tests/standin/src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --bin gcr-push --target "$(rustc --print host-tuple)"

# Cargo builds again what is newer than its last build, and a checkout can be older than the empty
# sources above.
COPY src src
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin gcr-push --target "$(rustc --print host-tuple)"

# GitLab wants `sh` and `grep` in a job's image, and no ENTRYPOINT that is not a shell; GitHub's
# runners on Kubernetes want `sh`, `env` and `tail`; Jenkins wants `cat`.
# https://docs.gitlab.com/runner/executors/docker/
# https://github.com/actions/runner-container-hooks
FROM docker.io/library/busybox:1.37.0-musl@sha256:5cec3fc171c87218698e85a52af7087de727372aae264a787b8112901a5b0092
LABEL org.opencontainers.image.title="gcr-push" \
    org.opencontainers.image.description="Push a built container image to Google's registries from any CI, with no Docker daemon" \
    org.opencontainers.image.source="https://github.com/gcr-push/gcr-push" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /build/target/*/release/gcr-push /usr/local/bin/

# This base has no libc, so a binary that is not static fails here, not in somebody's pipeline.
RUN gcr-push --version

# No USER: a container action must be root to write what its runner reads, and any other user can
# be given where the image is run.
# https://docs.github.com/en/actions/reference/workflows-and-actions/dockerfile-support
CMD ["gcr-push"]
