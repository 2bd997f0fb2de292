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
# A schema that takes anything would take this, too.
sed 's/replicas: 1/replicas: one/' deploy/kubernetes/varve.yaml >"$folder/wrong.yaml"
if "$bin/kubernetes-validate" --strict --quiet "$folder/wrong.yaml" >/dev/null 2>&1; then echo "a wrong manifest is taken"; exit 1; fi

"$bin/python" - "$folder" <<'PYTHON'
import sys, yaml
folder = sys.argv[1]
for name in ("varve", "cluster"):
    documents = yaml.safe_load_all(open(f"deploy/kubernetes/{name}.yaml"))
    documents = list(documents)
    (config,) = [document for document in documents if document["kind"] == "ConfigMap"]
    (pods,) = [document["spec"]["template"]["spec"] for document in documents if document["kind"] == "StatefulSet"]
    mounted = [volume["configMap"]["name"] for volume in pods["volumes"] if "configMap" in volume]
    assert mounted == [config["metadata"]["name"]], f"{name}: {mounted} is mounted"
    open(f"{folder}/{name}.toml", "w").write(config["data"]["varve.toml"])
yaml.safe_load(open("deploy/kubernetes/monitor.yaml"))
PYTHON
echo token >"$folder/token"
for name in varve cluster; do
    VARVE_ADMIN_TOKEN_FILE="$folder/token" VARVE_CLUSTER_SECRET_FILE="$folder/token" VARVE_CLUSTER_ANNOUNCE_IP=$name-0.pods \
        "$VARVE" config check "$folder/$name.toml"
done
echo "manifests: right"
