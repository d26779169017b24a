# The images: operator (masters and readers run it as well), slave (with POV-Ray) and slave-blender.
#
#   docker build --target operator -t drqueue/operator .
#
# BASE is any Debian bookworm with Python 3.11 and its venv module; where no registry is reached,
# devcluster makes one of Debian packages. The source comes last: a change of it rebuilds seconds.
ARG BASE=python:3.11-slim-bookworm

# What the program imports, exactly as locked. The secret `pip` (optional) is a pip.conf for the
# build only: an index of one's own, a certificate authority.
FROM ${BASE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/drqueue
WORKDIR /build
COPY requirements.lock ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/drqueue/bin/pip install --require-hashes -r requirements.lock \
    && echo /opt/drqueue-source/lib/python3.11/site-packages \
       > /opt/drqueue/lib/python3.11/site-packages/drqueue-source.pth

# The program itself, beside its dependencies and not among them: a small layer of its own.
FROM dependencies AS source
COPY requirements-build.lock ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/drqueue/bin/pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md ./
COPY operator operator
RUN /opt/drqueue/bin/pip install --no-deps --no-build-isolation --no-index \
    --prefix /opt/drqueue-source .

# Runs as anybody but root, on a read-only root file system with a writable /tmp.
FROM ${BASE} AS runtime
RUN groupadd --gid 10001 drqueue \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin drqueue
COPY --from=dependencies /opt/drqueue /opt/drqueue
ENV PATH=/opt/drqueue-source/bin:/opt/drqueue/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
USER 10001:10001

FROM runtime AS operator
COPY --from=source /opt/drqueue-source /opt/drqueue-source
CMD ["drqueue-operator"]

FROM runtime AS povray
USER 0:0
RUN apt-get update \
    && apt-get install --yes --no-install-recommends povray povray-includes \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001

FROM povray AS slave
COPY --from=source /opt/drqueue-source /opt/drqueue-source
CMD ["drqueue-slave"]

FROM povray AS blender
USER 0:0
RUN apt-get update \
    && apt-get install --yes --no-install-recommends blender \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001

FROM blender AS slave-blender
COPY --from=source /opt/drqueue-source /opt/drqueue-source
CMD ["drqueue-slave"]
