# One image for every process of meshui; docker-compose.yml says which command each one runs.
FROM python:3.11-slim AS packages
RUN pip install --no-cache-dir uv==0.13.9
COPY requirements/base.txt /tmp/base.txt
RUN uv venv /opt/meshui \
 && VIRTUAL_ENV=/opt/meshui uv pip sync --no-cache --require-hashes /tmp/base.txt

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home meshui && install -d -o meshui /app /state
COPY --from=packages /opt/meshui /opt/meshui
COPY --chown=root:root . /app
ENV PATH=/opt/meshui/bin:$PATH PYTHONUNBUFFERED=1 MESHUI_STATE=/state
WORKDIR /app
USER meshui
VOLUME /state
CMD ["python", "manage.py", "up"]
