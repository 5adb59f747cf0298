# The app, on a CPU:   docker build -t exprgan . && docker run --rm -p 7860:7860 exprgan
FROM python:3.12-slim

# uv knows where torch without CUDA comes from, which is much smaller.
RUN pip install --no-cache-dir uv
WORKDIR /app
COPY requirements.txt ./
RUN uv pip install --system --no-cache --torch-backend cpu -r requirements.txt

COPY app.py LICENSE CREDITS.md ./
COPY exprgan exprgan
COPY weights weights
RUN useradd --create-home exprgan
USER exprgan

ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 GRADIO_ANALYTICS_ENABLED=False HF_HUB_DISABLE_TELEMETRY=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --start-interval=2s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/agents.md', timeout=9)"]
CMD ["python", "app.py"]
