# The worker, and the gateway. Each serves whatever module its command names: see docker-compose.yml.

FROM python:3.13.12-slim-trixie AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE worker.py ./
COPY activities activities
COPY flows flows
COPY counterstep counterstep
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13.12-slim-trixie
RUN useradd --system --uid 10001 --user-group --no-create-home counterstep \
 && install -d -o counterstep -g counterstep /var/lib/counterstep
WORKDIR /app
COPY constraints.txt ./
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir -c constraints.txt "$(ls /wheels/*.whl)[gateway,otlp]"
COPY worker.py ./
COPY examples examples
COPY docker/healthcheck.py docker/healthcheck.py
ENV PYTHONUNBUFFERED=1
USER counterstep
ENTRYPOINT ["python", "worker.py"]
