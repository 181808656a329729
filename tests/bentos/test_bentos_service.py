"""A real Bento over HTTP, behind the host that switches versions."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from bentos.packaging import BuiltBento, build
from bentos.processes import free_port
from bentos.schema import predict_request
from bentos.targets.kubernetes import manifests
from bentos.targets.local import LocalTarget
from flows._cli.processes import spawn, stop
from mlcore.capture.segments import read_segment, sealed_segments
from mlcore.errors import DeploymentError, PackagingError, ServerError
from mlcore.modelstore import ModelMetadata, save_model
from mlcore.training.run import golden_rows, train_model
from tests.support import PATIENCE_SECONDS, churn_rows

ROOT = Path(__file__).parents[2]
ROW = {"customer_id": 7, "seen_at": "2026-03-01T12:00:00Z", "plan": "pro", "monthly_fee": 20.5, "calls": 3}


@dataclass(frozen=True)
class Service:
    """A running host with its Bentos."""

    url: str
    target: LocalTarget
    bentos: list[BuiltBento]
    spool: Path
    state: Path
    processes: list[subprocess.Popen[bytes]]


def start(home: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a host and wait until it answers."""
    command = [sys.executable, "-m", "bentos.host", "--port", str(port), "--state-dir", str(home / "host")]
    process = spawn(command, log=home / "host.log", environment={"MLOPS_SPOOL": str(home / "spool")})
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            httpx.get(f"http://127.0.0.1:{port}/nobody/info")
            break
        except httpx.TransportError:
            time.sleep(0.1)
    return process


def restart(service: Service) -> None:
    """Kill the host and start it again at the same address."""
    service.processes[-1].kill()
    service.processes[-1].wait()
    service.processes.append(start(service.state.parent, httpx.URL(service.url).port or 80))


def _bento(home: Path, usecase, version: int) -> BuiltBento:
    frame = churn_rows(400, seed=version)
    trained = train_model(frame, usecase, seed=version)
    metadata = ModelMetadata(
        algorithm=trained.algorithm,
        estimator=trained.estimator,
        parameters=trained.parameters,
        seed=version,
        metric=trained.metric,
        metrics=trained.scores.to_json(),
        train_rows=1,
        holdout_rows=1,
    )
    model = save_model(trained, home / "models", usecase, metadata, golden_rows(frame, usecase))
    return build(
        model_uri=model.uri,
        model_digest=model.digest,
        usecase=usecase,
        model_version=version,
        bentoml_home=home / "bentoml",
        lock_file=ROOT / "requirements.lock",
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory, churn) -> Iterator[Service]:
    """Two versions of a classifier, the first one in service."""
    home = tmp_path_factory.mktemp("service")
    bentos = [_bento(home, churn, version) for version in (1, 2)]
    port = free_port()
    process = start(home, port)
    url = f"http://127.0.0.1:{port}"
    target = LocalTarget.at(url, home / "host")
    target.deploy("churn", 1, str(bentos[0].path))
    found = Service(f"{url}/churn", target, bentos, home / "spool" / "churn", home / "host", [process])
    yield found
    stop(found.processes[-1])


pytestmark = pytest.mark.journey


def test_answers_carry_ids_and_the_version(service):
    """One answer a row, each with an id of its own, probabilities by class."""
    answer = httpx.post(f"{service.url}/predict", json={"rows": [ROW, {**ROW, "calls": None}]}).json()
    assert answer["usecase"] == "churn"
    ids = [item["id"] for item in answer["predictions"]]
    assert len(set(ids)) == 2
    for item in answer["predictions"]:
        assert isinstance(item["prediction"], bool)
        assert sum(item["probabilities"].values()) == pytest.approx(1)


def test_everybody_gets_the_answer_to_his_own_rows(service):
    """What is asked at the same moment is scored together, and answered as if it had been asked alone."""
    bodies = [{"rows": [{**ROW, "calls": calls, "monthly_fee": fee}]} for calls in range(8) for fee in (9.5, 80.0)]
    bodies += [{"rows": [{**ROW, "calls": calls} for calls in range(3)]}]

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=60) as client:
            return await asyncio.gather(*(client.post(f"{service.url}/predict", json=body) for body in bodies))

    def told(answers: list[httpx.Response]) -> list[float]:
        assert {answer.status_code for answer in answers} == {200}
        return [item["probabilities"]["True"] for answer in answers for item in answer.json()["predictions"]]

    alone = told([httpx.post(f"{service.url}/predict", json=body, timeout=60) for body in bodies])
    # a linear model's sums may differ in the last bit
    assert told(asyncio.run(ask())) == pytest.approx(alone, rel=1e-12)
    assert len(set(alone)) > 8


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"not json", 422, "Invalid JSON"),
        (b"{}", 422, "rows"),
        (b'{"rows": []}', 422, "at least 1 item"),
        (json.dumps({"rows": [{**ROW, "cals": 3}]}).encode(), 422, "rows.0.cals: unknown column"),
        (json.dumps({"rows": [{**ROW, "calls": "many"}]}).encode(), 422, "rows.0.calls"),
        (json.dumps({"rows": [{**ROW, "seen_at": "yesterday"}]}).encode(), 422, "rows.0.seen_at"),
        (json.dumps({"rows": [{**ROW, "seen_at": "9999-01-01T00:00:00Z"}]}).encode(), 422, "between 1678 and 2261"),
        (json.dumps({"rows": [{**ROW, "monthly_fee": float("inf")}]}).encode(), 422, "finite"),
        (json.dumps({"rows": [{**ROW, "monthly_fee": float("nan")}]}).encode(), 422, "finite"),
        (json.dumps({"rows": [{**ROW, "calls": 10**30}]}).encode(), 422, "rows.0.calls"),
        (json.dumps({"rows": [ROW] * 10_001}).encode(), 422, "at most 10000"),
        (b'{"rows": [' + b" " * (33 * 1024 * 1024) + b"]}", 413, "bytes"),
        (b"[" * 100_000, 422, "body"),
    ],
    ids=range(13),
)
def test_bad_requests_are_told_what_is_wrong(service, body, status, told):
    """Never a 500: the place and the expectation, and that nothing was scored."""
    answer = httpx.post(
        f"{service.url}/predict", content=body, headers={"Content-Type": "application/json"}, timeout=30
    )
    assert answer.status_code == status
    assert told in answer.text
    assert "nothing was scored" in answer.text


def test_labels_of_another_type_are_refused(service):
    """What can never be compared with an answer is told at once, not found out by the collection."""
    for value in ("yes", 1, None, {}):
        answer = httpx.post(f"{service.url}/labels", json={"labels": [{"id": "x", "value": value}]})
        assert answer.status_code == 422
        assert "labels.0.value" in answer.text


def test_strange_but_possible_values_are_scored(service):
    """Out of range, unseen or missing values are answered; that they came is for monitoring to find."""
    rows = [{**ROW, "monthly_fee": 1e300}, {**ROW, "plan": "unheard of"}, {}, {**ROW, "seen_at": "2026-03-01T12:00:00"}]
    answer = httpx.post(f"{service.url}/predict", json={"rows": rows * 100}, headers={"X-Capture": "off"})
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 400


def test_scored_rows_and_labels_are_captured(service):
    """What was answered, and later what was true, is in the spool; probes are not."""
    ids = [item["id"] for item in httpx.post(f"{service.url}/predict", json={"rows": [ROW]}).json()["predictions"]]
    httpx.post(f"{service.url}/predict", json={"rows": [{**ROW, "monthly_fee": 499.0}]}, headers={"X-Capture": "off"})
    assert httpx.post(f"{service.url}/labels", json={"labels": [{"id": ids[0], "value": True}]}).json() == {
        "accepted": 1
    }
    until = time.monotonic() + PATIENCE_SECONDS
    found: list[dict] = []
    while time.monotonic() < until and not any(r["kind"] == "label" and r["row_id"] == ids[0] for r in found):
        time.sleep(0.3)
        found = [record for path in sealed_segments(service.spool) for record in read_segment(path)]
    (kept,) = [record for record in found if record["kind"] == "prediction" and record["row_id"] == ids[0]]
    assert kept["features"]["monthly_fee"] == 20.5
    assert kept["features"]["customer_id"] != 7
    assert not any(record.get("features", {}).get("monthly_fee") == 499.0 for record in found)


def test_the_openapi_document_has_the_contracts_columns(service):
    """Applications can generate their client from the service."""
    document = httpx.get(f"{service.url}/openapi.json").json()
    assert set(document["components"]["schemas"]["Row"]["properties"]) == set(ROW)
    assert document["components"]["schemas"]["Label"]["properties"]["value"]["type"] == "boolean"
    assert httpx.get(f"{service.url}/readyz").status_code == 200
    assert "mlops_rows_scored" in httpx.get(f"{service.url}/metrics").text
    logs = list(service.state.rglob("*.log"))
    assert logs
    assert not any("/predict" in path.read_text() for path in logs)  # requests are counted, not logged one by one
    assert httpx.get(f"{service.url}/info").json()["capture"]["on"]


def test_no_request_is_lost_over_switches(service):
    """Traffic from three threads over three switches: every request is answered, the version changes."""
    stop_now, versions, problems = threading.Event(), set(), []

    def ask() -> None:
        with httpx.Client(timeout=30) as client:
            while not stop_now.is_set():
                answer = client.post(f"{service.url}/predict", json={"rows": [ROW]}, headers={"X-Capture": "off"})
                if answer.status_code == 200:
                    versions.add(answer.json()["model_version"])
                else:
                    problems.append(answer.text)
                stop_now.wait(0.005)  # or the clients take the cores on which the next version starts

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in (2, 1, 2):
        service.target.deploy("churn", version, str(service.bentos[version - 1].path))
    stop_now.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert versions == {1, 2}
    assert service.target.status("churn").model_version == 2


def test_a_version_that_answers_wrongly_takes_no_traffic(service, tmp_path):
    """Golden rows that come out different keep the old version in service."""
    import shutil

    from mlcore.canonical import canonical_bytes, digest_bytes

    before = service.target.status("churn").model_version
    wrong = tmp_path / "wrong"
    shutil.copytree(service.bentos[0].path, wrong)
    model = wrong / "src" / "bundle" / "model"
    golden = json.loads((model / "golden.json").read_text())
    golden["expected"][0] = not golden["expected"][0]
    for file in (model / "golden.json", model / "manifest.json"):
        file.chmod(0o644)
    (model / "golden.json").write_text(json.dumps(golden))
    with pytest.raises(DeploymentError):
        service.target.deploy("churn", 9, str(wrong))
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["files"]["golden.json"] = digest_bytes((model / "golden.json").read_bytes())
    (model / "manifest.json").write_bytes(canonical_bytes(manifest))
    with pytest.raises(DeploymentError, match="golden row 0"):
        service.target.deploy("churn", 9, str(wrong))
    # nor does its start take away what was counted
    httpx.post(f"{service.url}/predict", json={"rows": [ROW]}).raise_for_status()
    assert f'mlops_rows_scored_total{{model_version="{before}"' in httpx.get(f"{service.url}/metrics").text
    assert service.target.status("churn").model_version == before
    with pytest.raises(DeploymentError, match="no Bento"):
        service.target.deploy("churn", 9, str(tmp_path / "nothing"))


@pytest.mark.fault
def test_a_service_that_is_killed_comes_back(service):
    """The host starts it again, and holds requests until it is there."""
    import psutil

    serving = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "bentoml" in (process.info["cmdline"] or ())
        and str(service.state.parent) in " ".join(process.info["cmdline"])
    ]
    assert serving
    for process in serving:
        process.kill()
    time.sleep(0.3)
    answer = httpx.post(f"{service.url}/predict", json={"rows": [ROW]}, timeout=60)
    assert answer.status_code == 200


def test_rollback_and_stop(service):
    """The version before is back by one call; a stopped use case is answered by nobody."""
    before = service.target.status("churn").model_version
    back = service.target.rollback("churn")
    assert {before, back.model_version} == {1, 2}
    assert httpx.get(f"{service.url}/info").json()["model_version"] == back.model_version
    with pytest.raises(DeploymentError, match="nothing served"):
        service.target.rollback("nobody")
    assert service.target.stop("churn")
    assert httpx.get(f"{service.url}/info").status_code == 404
    assert service.target.status("churn") is None
    assert list((service.state / "homes").iterdir()) == []
    service.target.deploy("churn", 1, str(service.bentos[0].path))


@pytest.mark.fault
def test_a_host_that_is_killed_serves_the_same_again(service):
    """What shall be served is on disk; requests that come while it starts wait and are answered."""
    restart(service)
    answer = httpx.post(f"{service.url}/predict", json={"rows": [ROW]}, headers={"X-Capture": "off"}, timeout=60)
    assert (answer.status_code, answer.json()["model_version"]) == (200, 1)


def test_the_bento_has_all_that_a_cluster_needs(service):
    """Pinned environment without an index, Containerfile, manifests; building again gives the same."""
    path = service.bentos[0].path
    requirements = (path / "env" / "python" / "requirements.txt").read_text()
    assert "--hash=sha256:" in requirements
    assert "index-url" not in requirements
    assert "bentoml" in (path / "Containerfile").read_text()
    assert "kind: Deployment" in (path / "kubernetes.yaml").read_text()
    assert importlib.metadata.version("uv")  # or bentoml has pip fetch it, into the environment of a loop at work
    assert not list(path.rglob("flows"))


def test_building_again_elsewhere_gives_the_same(service, churn, tmp_path):
    """The digest is over what will answer; each store gets its own, and one that is there is not built again."""
    bundle = service.bentos[0].path / "src" / "bundle"
    facts = json.loads((bundle / "service.json").read_text())
    order = {"model_uri": str(bundle / "model"), "model_digest": facts["digest"], "usecase": churn, "model_version": 1}
    home = tmp_path / ".hidden"
    again = build(**order, bentoml_home=home, lock_file=ROOT / "requirements.lock")
    assert again.digest == service.bentos[0].digest
    assert again.path.is_relative_to(home)
    changed = again.path.stat().st_mtime_ns
    assert build(**order, bentoml_home=home, lock_file=ROOT / "requirements.lock") == again
    assert again.path.stat().st_mtime_ns == changed
    assert [path.name for path in home.iterdir()] == ["bentos"]
    with pytest.raises(PackagingError, match="folder is gone"):
        build(**{**order, "model_uri": "/nowhere"}, bentoml_home=tmp_path / "b", lock_file=ROOT / "requirements.lock")


def test_nobody_without_the_token_may_deploy(service):
    """The admin routes are for whoever can read the host's state folder."""
    url = service.url.removesuffix("/churn")
    assert httpx.post(f"{url}/-/deploy", json={}).status_code == 403
    with pytest.raises(ServerError):
        LocalTarget(url, "wrong").status("churn")
    with pytest.raises(ServerError, match="make up"):
        LocalTarget("http://127.0.0.1:9", "x").status("churn")
    assert httpx.post(f"{url}/nobody/predict", json={}).status_code == 404


def test_manifests_keep_the_address_and_never_go_below_one(churn):
    """A new version changes no name that applications know."""
    first, second = (manifests(churn, version, f"image:{version}") for version in (1, 2))
    service = [item for item in first if item["kind"] == "Service"]
    assert service == [item for item in second if item["kind"] == "Service"]
    claims = {item["metadata"]["name"] for item in first if item["kind"] == "PersistentVolumeClaim"}
    volumes = first[0]["spec"]["template"]["spec"]["volumes"]
    assert {volume["persistentVolumeClaim"]["claimName"] for volume in volumes} == claims


def test_the_input_is_made_from_the_contract(churn):
    """Keys, time and features are asked for; target and metadata are not."""
    schema = predict_request(churn.contract, 10).model_json_schema()
    assert set(schema["$defs"]["Row"]["properties"]) == set(ROW)


def test_serving_imports_nothing_of_prefect():
    """A service is small: no orchestrator in it."""
    heavy = ("prefect", "great_expectations", "altair")
    code = f"import sys, bentos.service, bentos.host; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip().splitlines()[-1] == "[]"
