# One image for every process of the shop. docker-compose.yml says which command each of them runs.

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY requirements-runtime.txt .
# Locked, hashed, wheels only: nothing is compiled, so there is no compiler here either. pip stays behind.
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --require-hashes --no-deps --only-binary :all: -r requirements-runtime.txt

FROM python:3.11-slim-bookworm
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/shop
COPY --from=build /venv /venv
COPY manage.py celeryconfig.py flowerconfig.py disk.py ./
COPY sagas sagas
COPY fastdb fastdb
COPY supervision supervision
COPY shop shop
COPY audit audit
COPY desk desk
COPY commands commands
COPY providers providers
COPY console console
COPY lab lab
COPY accounts accounts
COPY catalog catalog
COPY orders orders
COPY inventory inventory
COPY payments payments
COPY delivery delivery
COPY notifications notifications
# The code belongs to root: a process can change nothing but var/.
RUN python -m compileall -q . \
    && groupadd --system --gid 10001 shop \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin shop \
    && install -d -o shop -g shop var
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os; from urllib.request import urlopen; urlopen(f\"http://127.0.0.1:{os.environ.get('METRICS_PORT') or 8080}/livez\", timeout=3)"]
ENV WEB_PROCESSES=1 WEB_THREADS=8
CMD ["granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8080", "--workers", "1", "--blocking-threads", "8", "shop.wsgi:application"]
