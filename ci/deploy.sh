#!/usr/bin/env bash
# deploy.sh: the manifests of deploy/ against the schemas of Kubernetes and Compose, and their configuration against the server.
set -eu
cd "$(dirname "$0")/.."
VARVE=${VARVE:-target/release/varve}
bin=target/ci/venv-deploy/bin
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$bin/kubernetes-validate" --strict --quiet deploy/kubernetes/varve.yaml deploy/kubernetes/cluster.yaml
"$bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/compose/one.yml deploy/compose/monitored.yml deploy/compose/cluster.yml
# Each file that a service mounts is there.
"$bin/python" - <<'PYTHON'
import os, yaml
for name in ("one", "monitored", "cluster"):
    for service in yaml.safe_load(open(f"deploy/compose/{name}.yml"))["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or os.path.exists(os.path.join("deploy/compose", source)), f"{name}: {source}"
for path in ("datasources/prometheus.yml", "dashboards/varve.yml"):
    assert yaml.safe_load(open(f"deploy/grafana/provisioning/{path}"))["apiVersion"] == 1
PYTHON
# A schema that takes anything would take this, too.
sed 's/replicas: 1/replicas: one/' deploy/kubernetes/varve.yaml >"$folder/wrong.yaml"
if "$bin/kubernetes-validate" --strict --quiet "$folder/wrong.yaml" >/dev/null 2>&1; then echo "a wrong manifest is taken"; exit 1; fi

"$bin/python" - "$folder" <<'PYTHON'
import sys, yaml
folder = sys.argv[1]
monitors = {monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]: monitor["spec"]
            for monitor in yaml.safe_load_all(open("deploy/kubernetes/monitor.yaml"))}
for name in ("varve", "cluster"):
    documents = yaml.safe_load_all(open(f"deploy/kubernetes/{name}.yaml"))
    documents = list(documents)
    (config,) = [document for document in documents if document["kind"] == "ConfigMap"]
    (pods,) = [document["spec"]["template"]["spec"] for document in documents if document["kind"] == "StatefulSet"]
    mounted = [volume["configMap"]["name"] for volume in pods["volumes"] if "configMap" in volume]
    assert mounted == [config["metadata"]["name"]], f"{name}: {mounted} is mounted"
    # Who is monitored: a service with the labels that are looked for, its port, and the secret that the pods have.
    (pods_service,) = [document for document in documents if document["kind"] == "Service" and "component" in str(document["metadata"])]
    labels, monitor = pods_service["metadata"]["labels"], monitors.pop(pods_service["metadata"]["labels"]["app.kubernetes.io/name"])
    assert monitor["selector"]["matchLabels"] == labels and monitor["jobLabel"] == "app.kubernetes.io/name", f"{name}: {labels}"
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in [port["name"] for port in pods_service["spec"]["ports"]], f"{name}: {endpoint}"
    secrets = {volume["secret"]["secretName"] for volume in pods["volumes"] if "secret" in volume}
    assert endpoint["authorization"]["credentials"]["name"] in secrets, f"{name}: {secrets}"
    open(f"{folder}/{name}.toml", "w").write(config["data"]["varve.toml"])
PYTHON
echo token >"$folder/token"
for name in varve cluster; do
    VARVE_ADMIN_TOKEN_FILE="$folder/token" VARVE_CLUSTER_SECRET_FILE="$folder/token" VARVE_CLUSTER_ANNOUNCE_IP=$name-0.pods \
        "$VARVE" config check "$folder/$name.toml"
done
echo "manifests: right"
