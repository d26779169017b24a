# The project's images: `operator` (masters and readers run in it too), `slave` with POV-Ray, and
# `slave-blender` with Blender as well.
#
# BASE is any Debian bookworm with python3 and venv; where no registry can be reached, the devcluster
# makes one with debootstrap. Layers go from what hardly ever changes to our own code, which is last.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS python
ENV PATH=/opt/drqueue/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN groupadd --gid 10001 drqueue \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp drqueue

FROM python AS libraries
RUN python3 -m venv /opt/drqueue
COPY requirements.lock /tmp/requirements.lock
RUN pip install --no-cache-dir --require-hashes -r /tmp/requirements.lock \
 && python -m compileall -q /opt/drqueue/lib

FROM libraries AS source
COPY pyproject.toml README.md /src/
COPY operator /src/operator
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python AS operator
COPY --from=libraries /opt/drqueue /opt/drqueue
COPY --from=source /wheels /wheels
RUN pip install --no-cache-dir --no-deps --no-index /wheels/*.whl
USER 10001:10001
CMD ["drqueue-operator"]

FROM python AS povray
RUN apt-get update \
 && apt-get install -y --no-install-recommends povray \
 && rm -rf /var/lib/apt/lists/*
COPY --from=libraries /opt/drqueue /opt/drqueue

FROM povray AS slave
COPY --from=source /wheels /wheels
RUN pip install --no-cache-dir --no-deps --no-index /wheels/*.whl
USER 10001:10001
CMD ["drqueue-slave"]

FROM povray AS blender
RUN apt-get update \
 && apt-get install -y --no-install-recommends blender \
 && rm -rf /var/lib/apt/lists/*

FROM blender AS slave-blender
COPY --from=source /wheels /wheels
RUN pip install --no-cache-dir --no-deps --no-index /wheels/*.whl
USER 10001:10001
CMD ["drqueue-slave"]
