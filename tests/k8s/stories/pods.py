"""Parts of pods that a restricted namespace admits, and a look at DNS from inside one."""

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
#: Security context of a pod; the images name a user that is not root.
POD = {"runAsNonRoot": True, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}


def container(image, command=None, **more):
    """A container of one of our images, with what else it has."""
    made = {"name": "main", "image": f"localhost/{image}:dev", "imagePullPolicy": "Never", "securityContext": RESTRICTED}
    return made | ({"command": command} if command else {}) | more


def lookup(bed, namespace, name, count):
    """What a resolver inside a pod says of the SRV records of a name, once there are `count`."""
    ask = f"said=$(busybox nslookup -type=srv {name})"
    enough = f'[ "$(echo "$said" | busybox grep -c "service =")" -ge {count} ]'
    command = ["busybox", "sh", "-c", f'until {ask} && {enough}; do busybox sleep 1; done; echo "$said"']
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": "lookup"},
        "spec": {"securityContext": POD, "containers": [container("tools", command)], "restartPolicy": "Never"},
    }
    bed.apply(pod)
    bed.kubectl("wait", "--namespace", namespace, "--for=jsonpath={.status.phase}=Succeeded", "pod/lookup")
    said = bed.kubectl("logs", "--namespace", namespace, "lookup")
    bed.kubectl("delete", "pod", "lookup", "--namespace", namespace, "--wait=false")
    return said
