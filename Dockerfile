# The gateway alone, as an unprivileged user. PYTHON_IMAGE is any image with python3 (3.11 to 3.13) and its venv module.
# The way of a request is compiled; the compiler, from Debian's packages, is left behind. GATEWAY_BUILD=interpreted needs none.
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE} AS build
ARG GATEWAY_BUILD=compiled
WORKDIR /build
RUN python3 -m venv /opt/gateway
RUN [ "$GATEWAY_BUILD" = compiled ] || exit 0; missing=; command -v gcc >/dev/null || missing="gcc libc6-dev"; \
    test -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || missing="$missing python3-dev"; \
    test -z "$missing" || { apt-get -qq update && apt-get -qq install --yes --no-install-recommends $missing; }
COPY requirements.lock pyproject.toml hatch_build.py README.md LICENSE ./
COPY src src
# The lock constrains what is installed and what builds it; development tools in it are left out.
RUN PIP_CONSTRAINT=/build/requirements.lock /opt/gateway/bin/pip install --quiet --no-cache-dir --disable-pip-version-check . \
    && /opt/gateway/bin/gateway --version

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
