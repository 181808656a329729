"""A Containerfile that needs nothing but the Bento's own folder."""

from __future__ import annotations

from pathlib import Path

_TEMPLATE = """\
# Build in this folder: podman build -t {tag} .
FROM python:3.11-slim
RUN useradd --create-home --uid 10001 bento
WORKDIR /home/bento/bento
COPY env/python/requirements.txt ./env/python/requirements.txt
RUN pip install --no-cache-dir --require-hashes --no-deps -r env/python/requirements.txt
COPY --chown=bento . .
USER bento
ENV OMP_NUM_THREADS=1 DO_NOT_TRACK=1 BENTOML_DO_NOT_TRACK=true MLOPS_SPOOL=/var/spool/mlops
VOLUME /var/spool/mlops
EXPOSE 3000
HEALTHCHECK CMD python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/readyz')"
CMD ["bentoml", "serve", ".", "--host", "0.0.0.0", "--port", "3000"]
"""


def write_containerfile(bento: Path) -> Path:
    """Write ``Containerfile`` into the Bento's folder."""
    path = bento / "Containerfile"
    path.write_text(_TEMPLATE.format(tag=f"{bento.parent.name}:{bento.name}"), encoding="utf-8")
    return path
