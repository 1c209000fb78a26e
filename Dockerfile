# One image for every service; `castledger up` in it runs all of them with a PostgreSQL of its own.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY analytics_core analytics_core
COPY api api
COPY castledger_server castledger_server
COPY ingest ingest
COPY migrations migrations
COPY prefix_redirect prefix_redirect
RUN python -m venv /opt/castledger \
    && /opt/castledger/bin/pip install --no-cache-dir --disable-pip-version-check '.[embedded]' \
    && /opt/castledger/bin/python -m compileall -q /opt/castledger

FROM python:3.13-slim-bookworm
# PostgreSQL looks its account up by name, so that a number alone would not do.
RUN useradd --system --uid 10001 --home-dir /var/lib/castledger --shell /usr/sbin/nologin castledger \
    && install -d -m 0700 -o castledger -g castledger /var/lib/castledger
COPY --from=build /opt/castledger /opt/castledger
ENV PATH=/opt/castledger/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    CASTLEDGER_DATA_DIR=/var/lib/castledger
USER castledger
WORKDIR /var/lib/castledger
VOLUME /var/lib/castledger
EXPOSE 8080 8001 8000
STOPSIGNAL SIGTERM
# Of everything that runs on the data folder; compose.yaml asks each service for itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["castledger", "health"]
ENTRYPOINT ["castledger"]
CMD ["up"]
