# syntax=docker/dockerfile:1
# Targets: `api` (also the llm and upkeep workers; no torch) and `worker-gpu` (torch and transformer_lens).
FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    GLOSSATOR_HOME=/var/lib/glossator GLOSSATOR_HOST=0.0.0.0
RUN useradd --system --create-home --home-dir /var/lib/glossator --uid 10001 glossator
WORKDIR /srv/glossator
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY interp interp
COPY workers workers
COPY api api
COPY migrations migrations

FROM base AS api
RUN pip install -c constraints.txt .
USER 10001
EXPOSE 8420
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8420/readyz', timeout=2).raise_for_status()"]
CMD ["glossator", "serve", "--no-workers"]

FROM base AS worker-gpu
ARG TORCH=torch==2.13.0
RUN pip install -c constraints.txt "${TORCH}" && pip install -c constraints.txt '.[models]'
USER 10001
CMD ["glossator", "worker", "gpu"]
