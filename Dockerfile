# The gateway alone, as an unprivileged user. PYTHON_IMAGE is any image with python3 (3.11 to 3.13) and its venv module.
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv /opt/gateway
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY src src
# The lock constrains what is installed and what builds it; development tools in it are left out.
RUN PIP_CONSTRAINT=/build/requirements.lock /opt/gateway/bin/pip install --quiet --no-cache-dir --disable-pip-version-check .

FROM ${PYTHON_IMAGE}
RUN groupadd --system gateway && useradd --system --gid gateway --home-dir /var/lib/gateway --create-home gateway
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH
USER gateway
WORKDIR /var/lib/gateway
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["gateway"]
CMD ["run"]
