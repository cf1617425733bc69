# The image, for linux/amd64 and linux/arm64:
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t regmirror .
#   docker buildx build --target debug -t regmirror:debug .      # with a shell
#
# The base images are arguments, for sites that keep their own.
ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm
# CA roots, time zones, /tmp and the user 65532, and nothing to run.
ARG RUNTIME_IMAGE=gcr.io/distroless/static-debian12:nonroot
ARG DEBUG_IMAGE=gcr.io/distroless/static-debian12:debug-nonroot

# Compiles on the builder's own architecture, for whichever is asked for.
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS rust
WORKDIR /src
RUN cargo install --locked cargo-chef@0.1.78 cargo-auditable@0.7.7

FROM rust AS recipe
COPY . .
RUN cargo chef prepare --recipe-path /recipe.json

FROM rust AS build
ARG TARGETARCH
# The C library is linked in as well, so that the image needs none; since version
# 2.34 glibc resolves names without files of its own. /build holds what is built for.
# hadolint ignore=DL3008
RUN case "$TARGETARCH" in \
      amd64) cpu=x86_64 package=x86-64 ;; \
      arm64) cpu=aarch64 package=aarch64 ;; \
      *) echo "no image for linux/$TARGETARCH: linux/amd64 and linux/arm64 only" >&2; exit 1 ;; \
    esac \
 && target="$cpu-unknown-linux-gnu" \
 && if ! command -v "$cpu-linux-gnu-gcc"; then \
      apt-get update \
   && apt-get install -y --no-install-recommends "gcc-$package-linux-gnu" "libc6-dev-$TARGETARCH-cross" \
   && rm -rf /var/lib/apt/lists/*; \
    fi \
 && rustup target add "$target" \
 && mkdir .cargo \
 && printf '%s\n' '[build]' "target = '$target'" "[target.$target]" "linker = '$cpu-linux-gnu-gcc'" \
      "rustflags = ['-C', 'target-feature=+crt-static']" >.cargo/config.toml
# The dependencies, which stay as they are while only regmirror changes.
COPY --from=recipe /recipe.json /recipe.json
RUN cargo chef cook --release --locked --recipe-path /recipe.json
COPY . .
ARG REVISION
# With the list of what it is made of inside, which scanners read.
RUN REGMIRROR_REVISION="$REVISION" cargo auditable build --release --locked \
 && mv target/*/release/regmirror /regmirror

# The program alone, to be published beside the image.
FROM scratch AS binary
COPY --from=build /regmirror /regmirror

FROM ${DEBUG_IMAGE} AS shell

FROM ${RUNTIME_IMAGE} AS runtime
ARG VERSION
ARG REVISION
ARG CREATED
ARG SOURCE=https://github.com/regmirror/regmirror
LABEL org.opencontainers.image.title="regmirror" \
      org.opencontainers.image.description="A mirror sync daemon for container registries" \
      org.opencontainers.image.url="$SOURCE" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.documentation="$SOURCE/blob/main/deploy/README.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
COPY LICENSE /licenses/LICENSE
COPY --from=build /regmirror /usr/local/bin/regmirror
# Where `server` listens, and `healthcheck` asks.
ENV REGMIRROR_CONFIG=/etc/regmirror/config.yml \
    REGMIRROR_HTTP_ADDR=0.0.0.0:9090
USER 65532:65532
EXPOSE 9090
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["/usr/local/bin/regmirror", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/regmirror"]
CMD ["server"]

# For CI systems that run a shell in the image.
FROM runtime AS debug
COPY --from=shell /busybox /busybox
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/busybox

FROM runtime AS release
