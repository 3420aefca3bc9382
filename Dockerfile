# Targets: `api`, `worker` (llm and upkeep), both without torch; `worker-gpu` (CUDA) and `worker-cpu`.
# The packages are those of `make install`: the same constraints, the same extras, torch first.
FROM scratch AS source
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY migrations migrations
COPY interp interp
COPY workers workers
COPY api api
COPY glossator glossator

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/glossator/bin:$PATH
RUN python -m venv /opt/glossator
WORKDIR /src
COPY constraints.txt ./

FROM build AS build-lean
COPY --from=source /src ./
RUN pip install -c constraints.txt '.[service,search,s3,otel]'

# The version of torch is that of the Makefile. It is installed before the sources are copied, so that a change of ours does not fetch it again.
FROM build AS build-gpu
ARG TORCH=torch==2.13.0
RUN pip install -c constraints.txt "${TORCH}"
COPY --from=source /src ./
RUN pip install -c constraints.txt '.[service,models,search,s3,otel]'

FROM build AS build-cpu
ARG TORCH=torch==2.13.0+cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install -c constraints.txt --extra-index-url "${TORCH_INDEX}" "${TORCH}"
COPY --from=source /src ./
RUN pip install -c constraints.txt '.[service,models,search,s3,otel]'

FROM python:3.11-slim-bookworm AS base
RUN useradd --system --create-home --home-dir /var/lib/glossator --uid 10001 glossator
ENV PATH=/opt/glossator/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    GLOSSATOR_HOME=/var/lib/glossator GLOSSATOR_ROOTS=/data GLOSSATOR_LOG_FORMAT=json HF_HOME=/var/lib/glossator/huggingface
WORKDIR /var/lib/glossator
USER 10001
STOPSIGNAL SIGTERM

FROM base AS api
COPY --from=build-lean /opt/glossator /opt/glossator
# A container listens on all addresses, and so does not start before there is a key: `glossator keys create`, or GLOSSATOR_ADMIN_KEY.
ENV GLOSSATOR_HOST=0.0.0.0
EXPOSE 8420
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8420/readyz', timeout=2)"]
CMD ["glossator", "serve", "--no-workers"]

FROM base AS base-worker
ENV GLOSSATOR_HEALTH_PORT=9420
EXPOSE 9420
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9420/healthz', timeout=2)"]

FROM base-worker AS worker
COPY --from=build-lean /opt/glossator /opt/glossator
# Several processes share the cores, so numpy gets one thread each.
ENV OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
CMD ["glossator", "worker", "llm"]

FROM base-worker AS worker-cpu
COPY --from=build-cpu /opt/glossator /opt/glossator
CMD ["glossator", "worker", "gpu"]

FROM base-worker AS worker-gpu
COPY --from=build-gpu /opt/glossator /opt/glossator
CMD ["glossator", "worker", "gpu"]
