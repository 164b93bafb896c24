# OneVault as a container: built in one image, run in a small one, never as root.

FROM rust:1-bookworm AS build
# aws-lc-sys is C: it needs cmake beside the compiler that the image has. PostgreSQL's parser is C too, and bindings to it are made
# with libclang.
RUN apt-get update && apt-get install -y --no-install-recommends cmake libclang-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin onevault && cp target/release/onevault /usr/local/bin/onevault

FROM debian:bookworm-slim
RUN groupadd --gid 6432 onevault && useradd --uid 6432 --gid onevault --home-dir /vault --no-create-home onevault \
    && install -d -o onevault -g onevault -m 0755 /vault \
    && install -d -o onevault -g onevault -m 0700 /vault/audit /vault/certs /vault/customers
COPY --from=build /usr/local/bin/onevault /usr/local/bin/onevault
COPY customers/templates /usr/share/onevault/templates
USER onevault
WORKDIR /vault
VOLUME ["/vault/audit", "/vault/certs", "/vault/customers"]
EXPOSE 6432 9640
ENV ONEVAULT_CONFIG=/etc/onevault/onevault.yaml
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["onevault", "status"]
ENTRYPOINT ["onevault"]
CMD ["serve"]
