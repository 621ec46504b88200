# Server, command line and callbridge: static programs and nothing else, run as nobody in particular.
#   docker build -f images/xmpp-node.Dockerfile -t xmpp-node .
# `scripts/images` reads the last stage to make the same image without Docker: it understands these instructions only.
FROM docker.io/library/rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
ENV XMPP_CACHE=/cache CARGO_HOME=/cargo
RUN --mount=type=cache,target=/cache --mount=type=cache,target=/cargo/registry \
    built=$(scripts/static) && mkdir /out && find "$built" -maxdepth 1 -type f -executable -exec cp {} /out ';'

FROM scratch
COPY --from=build /out/xmpp-node /out/xmpp /out/callbridge /bin/
ENV PATH=/bin
USER 65532
ENTRYPOINT ["/bin/xmpp-node"]
