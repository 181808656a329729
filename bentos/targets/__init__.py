"""Where a Bento can go: this machine's service host, a container image, a Kubernetes cluster."""
