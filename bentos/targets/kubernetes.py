"""Kubernetes manifests of a Bento: deployment with probes, spool, service, disruption budget, autoscaler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlcore.usecase import UseCase


def write_manifests(bento: Path, usecase: UseCase, model_version: int, image: str) -> Path:
    """Write ``kubernetes.yaml`` into the Bento's folder; applications keep the service's name, whatever the model."""
    import yaml

    path = bento / "kubernetes.yaml"
    path.write_text(yaml.safe_dump_all(manifests(usecase, model_version, image), sort_keys=False), encoding="utf-8")
    return path


def manifests(usecase: UseCase, model_version: int, image: str) -> list[dict[str, Any]]:
    """Return the manifests."""
    name = usecase.name.replace("_", "-")
    selector = {"app.kubernetes.io/name": name}
    labels = {**selector, "mlops/model-version": str(model_version)}
    probe = {"periodSeconds": 5, "failureThreshold": 3}
    container = {
        "name": "model",
        "image": image,
        "ports": [{"containerPort": 3000, "name": "http"}],
        "env": [{"name": "MLOPS_SPOOL", "value": "/var/spool/mlops"}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, **probe},
        "livenessProbe": {"httpGet": {"path": "/livez", "port": "http"}, "initialDelaySeconds": 20, **probe},
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False},
        "volumeMounts": [{"name": "spool", "mountPath": "/var/spool/mlops"}],
    }
    pod = {
        "metadata": {"labels": labels, "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "3000"}},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "spool", "persistentVolumeClaim": {"claimName": f"{name}-spool"}}],
            "terminationGracePeriodSeconds": 60,
        },
    }
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "replicas": 2,
                # a new version takes traffic only when it is ready, and no old one goes before that
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "selector": {"matchLabels": selector},
                "template": pod,
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": f"{name}-spool", "labels": selector},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "5Gi"}}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": selector},
            "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": "http"}]},
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": name},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": selector}},
        },
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": 2,
                "maxReplicas": 8,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
                    }
                ],
            },
        },
    ]
