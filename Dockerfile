# syntax=docker/dockerfile:1

# everything that is needed once
FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# what else is wanted: bedrock (calls signed with IAM credentials), vertex (Google's credentials)
ARG EXTRAS=server,redis
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY asgi_llmgw ./asgi_llmgw
# the environment that is copied on holds no pip of its own
RUN python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install ".[${EXTRAS}]"

# what runs: the interpreter, the environment and an account that owns nothing
FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin gateway
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# http.client and not urllib.request, which would ask a proxy of the environment for 127.0.0.1
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import http.client, os, sys; connection = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('LLMGW_SERVER__PORT') or 8080), timeout=2); connection.request('GET', '/health'); sys.exit(connection.getresponse().status != 200)"]
# Reachable from outside the container, so the gateway refuses to start without a client key:
#   docker run -p 8080:8080 -e OPENAI_API_KEY -e LLMGW_KEYS__ME__KEY=choose-one asgi-llmgw
ENTRYPOINT ["asgi-llmgw", "serve", "--host", "0.0.0.0"]
